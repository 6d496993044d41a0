"""Writes pairs of images with statements in NLVR2's form, with a bank of programs."""

from pathlib import Path
from random import Random
from typing import Any

from sdvp_core.tasks.descriptions import Thing
from sdvp_core.tasks.shapes.files import (
    save_image,
    scene_graph,
    stream,
    write_compact,
    write_json_lines,
)
from sdvp_core.tasks.shapes.render import scene
from sdvp_core.tasks.shapes.statements import Statement, state

STATEMENTS = {"train": 3, "test": 2}  # a pair
_FILES = {"train": "train.json", "test": "test1.json"}
# Far above the set numbers of the real data: image ids of the two never meet.
_FIRST_SET = 100_000


def write(task: str, folder: Path, scenes: dict[str, int], seed: int, look: str) -> None:
    """train.json and test1.json, images, scene graphs and bank; two scenes make a pair."""
    official = {
        "train": sum(scenes.get(split, 0) for split in ("train", "distill", "val")),
        "test": scenes.get("test", 0),
    }
    graphs: dict[str, Any] = {}
    bank: dict[str, Statement] = {}
    for split, count in official.items():
        rows: list[dict[str, Any]] = []
        for number in range(count // 2):
            rng = stream(seed, task, split, number)
            pair = f"{_FILES[split].removesuffix('.json')}-{_FIRST_SET + number}-0"
            sides = [_side(rng, folder, f"{pair}-img{i}", look, graphs) for i in range(2)]
            statements = _statements(rng, sides[0], sides[1], STATEMENTS[split])
            for place, statement in enumerate(statements):
                bank[statement.sentence] = statement
                rows.append(_record(statement, f"{pair}-{place}"))
        if count:
            write_json_lines(folder / _FILES[split], rows)
    write_compact(folder / "sceneGraphs.json", graphs)
    write_json_lines(folder / "programs.jsonl", (_program(s) for s in bank.values()))


def _side(
    rng: Random, folder: Path, image_id: str, look: str, graphs: dict[str, Any]
) -> list[Thing]:
    image, things = scene(rng, look)
    save_image(folder / "images" / f"{image_id}.png", image)
    graphs[image_id] = scene_graph(things)
    return things


def _statements(rng: Random, left: list[Thing], right: list[Thing], count: int) -> list[Statement]:
    found: dict[str, Statement] = {}
    for _ in range(count):
        statement = state(rng, left, right, rng.random() < 0.5)
        if statement is not None:
            found[statement.sentence] = statement
    return list(found.values())


def _record(statement: Statement, identifier: str) -> dict[str, Any]:
    return {
        "identifier": identifier,
        "sentence": statement.sentence,
        "label": "True" if statement.truth else "False",
        "synset": "shape",
        "query": "shapes",
        "writer": "0",
    }


def _program(statement: Statement) -> dict[str, str]:
    return {
        "sentence": statement.sentence,
        "viper": statement.viper,
        "visprog": statement.visprog,
    }
