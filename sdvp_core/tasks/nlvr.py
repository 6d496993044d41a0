"""Reads NLVR (Suhr et al. 2017) from its official folders.

A folder holds ``dev/dev.json``, ``dev/images/<directory>/dev-<identifier>-<k>.png``, and the same
for test; train is used as dev is where it is there. k = 0..5 are the six orders of a record's three
boxes: the k-th permutation of ``itertools.permutations(range(3))``, the first being the order of
``structured_rep`` (checked on the pixels).

Rules of the splits: of dev's (and train's) records those of directories 0, 1 are train, 2, 3, 4
distill, 5 val (the directory modulo 6). Records of train and val are one question each, on order
k = 0; those of distill and test six, one an order, in one group. Splits are by record: orders show
the same boxes.
"""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import to_json
from sdvp_core.base.tables import read_jsonl
from sdvp_core.tasks.images import ImageFile, image_rows
from sdvp_core.tasks.source import TaskTables, limited, need

ORDERS = tuple(permutations(range(3)))
BOX_STEP, BOX_SIDE = 150, 100  # px: box b of an image starts at x = 150 b
_SPLITS = ("train", "train", "distill", "distill", "distill", "val")
_COLORS = {"black": "black", "yellow": "yellow", "#0099ff": "blue"}
_SIZES = {10: "small", 20: "medium", 30: "big"}  # px
_ANSWERS = {"true", "false"}


def read(
    source: Path,
    task: str,
    seed: int = 0,
    shares: dict[str, float] | None = None,
    limits: dict[str, int] | None = None,
) -> TaskTables:
    """The three tables of an NLVR folder; ``seed`` and ``shares`` are not used (see the module).

    Images and annotations hold all six orders of train (for a teacher), of distill and of test, and
    the first of val. ``semantic`` holds {"kind": "tower"} or "scatter".
    ``UserError`` where neither dev nor train nor test is there.
    """
    source = Path(source)
    parts = [path.stem for path in files(source)]

    def questions() -> Iterator[dict[str, Any]]:
        return limited(
            (row for part, record in _records(source, parts) for row in _asked(part, record, task)),
            limits,
        )

    def pictures() -> Iterator[ImageFile]:
        return _files(source, parts, questions)

    return TaskTables(
        questions(),
        image_rows(pictures(), task, questions),
        _annotations(source, parts, questions),
        pictures,
    )


def files(source: Path) -> list[Path]:
    """The files of statements that are read; ``UserError`` where there is none."""
    need(source, "the official NLVR folder, with dev and test")
    parts = [source / part / f"{part}.json" for part in ("train", "dev", "test")]
    found = [path for path in parts if path.is_file()]
    if not found:
        raise UserError(f"{source} has no dev/dev.json and no test/test.json: put NLVR there.")
    return found


def kind(record: dict[str, Any]) -> str:
    """ "tower" where every box holds one stack of squares of 20 px, else "scatter"."""
    boxes = record["structured_rep"]
    stacked = all(
        item["type"] == "square" and item["size"] == 20 and item["x_loc"] == box[0]["x_loc"]
        for box in boxes
        for item in box
    )
    return "tower" if stacked and all(_piled(box) for box in boxes) else "scatter"


def objects(structured_rep: list[list[dict[str, Any]]], order: int = 0) -> list[dict[str, Any]]:
    """The annotation objects of one order of a record: its grey boxes and their items.

    Boxes are in pixels of the whole image, 400 x 100.
    """
    found: list[dict[str, Any]] = []
    for place, box in enumerate(ORDERS[order]):
        left = BOX_STEP * place
        found.append(_grey_box(place, left))
        for number, item in enumerate(structured_rep[box]):
            found.append(_item(f"{place}-{number}", item, left))
    return found


def _records(source: Path, parts: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in parts:
        path = source / part / f"{part}.json"
        for number, record in enumerate(read_jsonl(path), 1):
            missing = {"sentence", "label", "identifier", "structured_rep"} - record.keys()
            if missing or str(record["label"]).lower() not in _ANSWERS:
                raise UserError(f"{path}:{number} is no NLVR record: download it again.")
            yield part, record


def _split(part: str, record: dict[str, Any]) -> str:
    return "test" if part == "test" else _SPLITS[int(record.get("directory", 0)) % len(_SPLITS)]


def _image_id(part: str, record: dict[str, Any], order: int) -> str:
    return f"{part}-{record['identifier']}-{order}"


def _asked(part: str, record: dict[str, Any], task: str) -> Iterator[dict[str, Any]]:
    split = _split(part, record)
    for order in range(len(ORDERS) if split in ("distill", "test") else 1):
        image_id = _image_id(part, record, order)
        yield {
            "question_id": f"{task}:{image_id}",
            "task": task,
            "split": split,
            "group_id": f"{part}-{record['identifier']}",
            "image_ids": [image_id],
            "question": record["sentence"],
            "answer": str(record["label"]).lower(),
            "answer_type": "truth",
            "semantic": to_json({"kind": kind(record)}),
        }


def _pictures(
    source: Path, parts: list[str], questions: Any
) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Part, record and order of every image the tables hold: of records with a question only."""
    groups = {row["group_id"] for row in questions()}
    for part, record in _records(source, parts):
        if f"{part}-{record['identifier']}" in groups:
            every = _split(part, record) != "val"
            for order in range(len(ORDERS) if every else 1):
                yield part, record, order


def _files(source: Path, parts: list[str], questions: Any) -> Iterator[ImageFile]:
    for part, record, order in _pictures(source, parts, questions):
        folder = source / part / "images" / str(record.get("directory", ""))
        image_id = _image_id(part, record, order)
        yield image_id, folder / f"{image_id}.png"


def _annotations(source: Path, parts: list[str], questions: Any) -> Iterator[dict[str, Any]]:
    for part, record, order in _pictures(source, parts, questions):
        image_id = _image_id(part, record, order)
        yield {
            "image_id": image_id,
            "objects": objects(record["structured_rep"], order),
            "relations": [],
        }


def _piled(box: list[dict[str, Any]]) -> bool:
    tops = sorted((item["y_loc"] for item in box), reverse=True)
    return bool(tops) and tops == [80 - 21 * level for level in range(len(tops))]


def _grey_box(place: int, left: int) -> dict[str, Any]:
    return {
        "object_id": f"box-{place}",
        "name": "box",
        "categories": [],
        "attributes": ["grey"],
        "box": [float(left), 0.0, float(left + BOX_SIDE), float(BOX_SIDE)],
    }


def _item(object_id: str, item: dict[str, Any], left: int) -> dict[str, Any]:
    x, y, size = left + item["x_loc"], item["y_loc"], item["size"]
    square = item["type"] == "square"
    return {
        "object_id": object_id,
        "name": item["type"],
        "categories": ["item", "object", "shape", *(["block"] if square else [])],
        "attributes": [_COLORS[item["color"].lower()], _SIZES[size]],
        "box": [float(x), float(y), float(x + size), float(y + size)],
    }
