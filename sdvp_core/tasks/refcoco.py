"""Reads referring expressions in RefCOCO's form (Yu et al. 2016), real or rendered.

A folder holds ``instances.json`` (COCO), ``refs.json`` (the records of RefCOCO's pickle as a JSON
list) and ``images/<file_name>``. The answer to an expression is a box.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sdvp_core.base.records import to_json
from sdvp_core.tasks import scene_graphs
from sdvp_core.tasks.images import ImageFile, image_rows
from sdvp_core.tasks.source import (
    TaskTables,
    image_ids,
    json_entries,
    limited,
    need,
    official,
    read_json,
    split_of,
)


def read(
    source: Path,
    task: str,
    seed: int = 0,
    shares: dict[str, float] | None = None,
    limits: dict[str, int] | None = None,
) -> TaskTables:
    """The three tables of a RefCOCO folder.

    Refs of split train are divided by image (``shares``), val is val, test, testA and testB are
    test. Answers are [x0, y0, x1, y1] in pixels as JSON. An image's id is its file name without
    the suffix. ``UserError`` where a file is missing.
    """
    source = Path(source)
    instances = files(source)[1]
    coco = read_json(instances)
    with official(instances):
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        boxes = {a["id"]: _corners(a["bbox"]) for a in coco["annotations"]}

    def questions() -> Iterator[dict[str, Any]]:
        rows = _questions(source / "refs.json", task, names, boxes)
        return limited((_placed(row, seed, shares) for row in rows), limits)

    wanted = cache(lambda: image_ids(questions))
    stems = {_stem(name): name for name in names.values()}

    def photos() -> Iterator[ImageFile]:
        return ((i, source / "images" / stems[i]) for i in wanted())

    return TaskTables(
        questions(),
        image_rows(photos(), task, questions),
        _annotations(source, wanted, coco, names),
        photos,
    )


def files(source: Path) -> list[Path]:
    """The annotation files that are read; ``UserError`` where one of the needed is missing."""
    return [
        need(source / "refs.json", "RefCOCO's refs as a JSON list"),
        need(source / "instances.json", "COCO's instances of RefCOCO"),
        *scene_graphs.files(source),
    ]


def _questions(
    path: Path, task: str, files: dict[int, str], boxes: dict[int, list[float]]
) -> Iterator[dict[str, Any]]:
    for _, ref in json_entries(path):
        with official(path):
            image_id, box = _stem(files[ref["image_id"]]), boxes[ref["ann_id"]]
            for sentence in ref["sentences"]:
                yield {
                    "question_id": f"{task}:{ref['ref_id']}:{sentence['sent_id']}",
                    "task": task,
                    "split": ref["split"],
                    "group_id": image_id,
                    "image_ids": [image_id],
                    "question": sentence["sent"],
                    "answer": to_json(box),
                    "answer_type": "box",
                    "semantic": None,
                }


def _placed(row: dict[str, Any], seed: int, shares: dict[str, float] | None) -> dict[str, Any]:
    official = row["split"]
    split = {"train": split_of(row["group_id"], shares, seed), "val": "val"}.get(official, "test")
    return {**row, "split": split}


def _annotations(
    source: Path, wanted: Any, coco: dict[str, Any], files: dict[int, str]
) -> Iterator[dict[str, Any]]:
    """Scene graphs where there are some, else COCO's categories and boxes."""
    asked, told = set(wanted()), set()
    for row in scene_graphs.annotations(source, asked):
        told.add(row["image_id"])
        yield row
    categories = {c["id"]: c for c in coco["categories"]}
    objects: dict[str, list[dict[str, Any]]] = {}
    for annotation in coco["annotations"]:
        image_id = _stem(files[annotation["image_id"]])
        if image_id in asked and image_id not in told:
            category = categories[annotation["category_id"]]
            objects.setdefault(image_id, []).append(_object(annotation, category))
    for image_id, things in objects.items():
        yield {"image_id": image_id, "objects": things, "relations": []}


def _object(annotation: dict[str, Any], category: dict[str, Any]) -> dict[str, Any]:
    above = category.get("supercategory")
    return {
        "object_id": str(annotation["id"]),
        "name": category["name"],
        "categories": [above] if above and above != category["name"] else [],
        "attributes": [],
        "box": _corners(annotation["bbox"]),
    }


def _corners(bbox: list[float]) -> list[float]:
    x, y, width, height = bbox
    return [round(c, 2) for c in (x, y, x + width, y + height)]


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]
