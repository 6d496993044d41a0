"""The files of a rendered task: its images, its scene graphs, its JSON.

Every scene has its own random stream, made of seed, task, split and number: changing how many
scenes a split has leaves the others as they are.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from sdvp_core.base.tables import write_text
from sdvp_core.tasks.descriptions import Thing
from sdvp_core.tasks.shapes.geometry import RELATIONS, is_related
from sdvp_core.tasks.shapes.world import SIDE

QUALITY = 92  # of the JPEGs, without chroma subsampling: thin coloured lines survive


def stream(seed: int, *parts: Any) -> Random:
    """The random stream of one scene."""
    return Random(":".join(map(str, (seed, *parts))))


def save_image(path: Path, image: Image.Image) -> None:
    """A JPEG, or a PNG if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        image.save(path, compress_level=1)
    else:
        image.save(path, quality=QUALITY, subsampling=0)


def scene_graph(things: Iterable[Thing]) -> dict[str, Any]:
    """One entry of GQA's sceneGraphs.json. Boxes there are whole pixels in GQA, here hundredths."""
    things = list(things)
    return {
        "width": SIDE,
        "height": SIDE,
        "objects": {thing["object_id"]: _node(thing, things) for thing in things},
    }


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_compact(path: Path, value: Any) -> None:
    """One JSON value without indentation, as the data sets come."""
    write_text(path, json.dumps(value, ensure_ascii=False))


def _node(thing: Thing, things: list[Thing]) -> dict[str, Any]:
    x0, y0, x1, y1 = thing["box"]
    relations = [
        {"name": relation, "object": other["object_id"]}
        for other in things
        if other is not thing
        for relation in RELATIONS
        if is_related(thing, relation, other)
    ]
    return {
        "name": thing["name"],
        "attributes": list(thing["attributes"]),
        "relations": relations,
        **{"x": x0, "y": y0, "w": round(x1 - x0, 2), "h": round(y1 - y0, 2)},
    }
