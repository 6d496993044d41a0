"""Annotations from scene graphs in GQA's form, found beside the questions of a task."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sdvp_core.base.ontology import SHAPES
from sdvp_core.tasks.images import EMBEDDED_SIDE, ImageFile, image_rows
from sdvp_core.tasks.shapes.world import CATEGORIES
from sdvp_core.tasks.source import TaskTables, image_ids, json_entries, official


def tables(
    source: Path,
    task: str,
    questions: Callable[[], Iterator[dict[str, Any]]],
    files_of: Callable[[list[str]], Iterable[ImageFile]],
    side: int = EMBEDDED_SIDE,
) -> TaskTables:
    """The three tables of a task whose annotations are the scene graphs beside its questions.

    ``files_of`` tells the file of each of the images asked about; ``side``: see `image_rows`.
    """
    wanted = cache(lambda: image_ids(questions))

    def images() -> Iterator[ImageFile]:
        yield from files_of(wanted())

    def graphs() -> Iterator[dict[str, Any]]:
        yield from annotations(source, wanted())

    return TaskTables(questions(), image_rows(images(), task, questions, side), graphs(), images)


def annotations(source: Path, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    """Rows of the annotations table of the wanted images, from every *sceneGraphs.json.

    They are looked for in the folder and in its ``sceneGraphs``. An image that stands in several
    files is taken from the first.
    """
    left = set(wanted)
    for path in files(source):
        for image_id, graph in json_entries(path):
            if image_id in left:
                left.remove(image_id)
                with official(path):
                    yield _row(image_id, graph)


def files(source: Path) -> list[Path]:
    """The scene-graph files of a task's folder, in the order they are read."""
    return [
        path
        for folder in (source, source / "sceneGraphs")
        for path in sorted(folder.glob("*sceneGraphs.json"))
    ]


def _row(image_id: str, graph: dict[str, Any]) -> dict[str, Any]:
    objects, relations = [], []
    for object_id, node in graph["objects"].items():
        objects.append(_object(object_id, node))
        for relation in node.get("relations", ()):
            relations.append(
                {"subject": object_id, "name": relation["name"], "object": relation["object"]}
            )
    return {"image_id": image_id, "objects": objects, "relations": relations}


def _object(object_id: str, node: dict[str, Any]) -> dict[str, Any]:
    x, y = float(node["x"]), float(node["y"])
    return {
        "object_id": object_id,
        "name": node["name"],
        # GQA's files do not say what a thing is a kind of, but that it is one ("_" in relations is
        # looked for as "object"); the kinds of the embedded world's shapes are known.
        "categories": list(CATEGORIES) if node["name"] in SHAPES else ["object"],
        "attributes": list(node["attributes"]),
        "box": [x, y, x + float(node["w"]), y + float(node["h"])],
    }
