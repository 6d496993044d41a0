"""Writes referring expressions in COCO's and RefCOCO's form (refs as JSON), with a bank.

The answer to an expression is the box of the one thing it means.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sdvp_core.base.ontology import SHAPES
from sdvp_core.tasks.descriptions import Thing
from sdvp_core.tasks.shapes.files import (
    save_image,
    scene_graph,
    stream,
    write_compact,
    write_json_lines,
)
from sdvp_core.tasks.shapes.geometry import NO, Referent, center, refer
from sdvp_core.tasks.shapes.programs import COMPARISONS, CROPS, Visprog, first, viper
from sdvp_core.tasks.shapes.render import scene
from sdvp_core.tasks.shapes.world import SIDE

EXPRESSIONS = 2  # a scene
# The word, the half of the image it names (where VisProg finds it), the centre it is about, and
# whether the least of these is meant. ViperGPT's y axis points upward.
_EXTREMES = {
    "leftmost": ("TOP", "CROP_LEFTOF", "horizontal_center", "min", 0, 1),
    "rightmost": ("TOP", "CROP_RIGHTOF", "horizontal_center", "max", 0, -1),
    "topmost": ("LEFT", "CROP_ABOVE", "vertical_center", "max", 1, 1),
    "bottommost": ("LEFT", "CROP_BELOW", "vertical_center", "min", 1, -1),
}


@dataclass(frozen=True, slots=True)
class _Expression:
    text: str
    thing: Thing
    viper: str
    visprog: str


def write(task: str, folder: Path, scenes: dict[str, int], seed: int, looks: Sequence[str]) -> None:
    """instances.json, refs.json, images, scene graphs and bank. Test scenes only."""
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(SHAPES)]
    coco: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    refs: list[dict[str, Any]] = []
    graphs: dict[str, Any] = {}
    bank: dict[str, dict[str, str]] = {}
    for number in range(scenes.get("test", 0)):
        rng = stream(seed, task, "test", number)
        image, things = scene(rng, looks[number % len(looks)])
        name = f"{task}_{number:05d}.jpg"
        save_image(folder / "images" / name, image)
        coco["images"].append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        coco["annotations"] += [_annotation(number, thing) for thing in things]
        graphs[name.removesuffix(".jpg")] = scene_graph(things)
        for expression in _expressions(rng, things):
            refs.append(_ref(expression, number, len(refs)))
            programs = {"viper": expression.viper, "visprog": expression.visprog}
            bank[expression.text] = {"sentence": expression.text, **programs}
    write_compact(folder / "instances.json", coco)
    write_compact(folder / "refs.json", refs)
    write_compact(folder / "sceneGraphs.json", graphs)
    write_json_lines(folder / "programs.jsonl", bank.values())


def _annotation(image: int, thing: Thing) -> dict[str, Any]:
    x0, y0, x1, y1 = thing["box"]
    width, height = round(x1 - x0, 2), round(y1 - y0, 2)
    return {
        "id": _annotation_id(image, thing),
        "image_id": image,
        "bbox": [x0, y0, width, height],
        "area": round(width * height, 2),
        "category_id": SHAPES.index(thing["name"]) + 1,
        "iscrowd": 0,
    }


def _annotation_id(image: int, thing: Thing) -> int:
    return 10 * image + int(thing["object_id"])


def _ref(expression: _Expression, image: int, number: int) -> dict[str, Any]:
    return {
        "ref_id": number,
        "image_id": image,
        "ann_id": _annotation_id(image, expression.thing),
        "split": "test",
        "sentences": [{"sent": expression.text, "sent_id": number}],
    }


def _expressions(rng: Random, things: Sequence[Thing]) -> list[_Expression]:
    found: dict[str, _Expression] = {}
    for _ in range(20):
        if len(found) == EXPRESSIONS:
            break
        expression = _extreme(rng, things) if rng.random() < 0.4 else _plain(rng, things)
        if expression is not None:
            found[expression.text] = expression
    return list(found.values())


def _plain(rng: Random, things: Sequence[Thing]) -> _Expression | None:
    one = refer(rng, things, rng.choice(things), relational=0.6)
    if one is None:
        return None
    return _Expression(f"the {one.words}", one.thing, *_programs(one))


def _programs(one: Referent) -> tuple[str, str]:
    steps, image, lines = Visprog(), "IMAGE", ["image_patch = ImagePatch(image)"]
    if one.anchor is None:
        lines += [*first("target", "image_patch", one.phrase.text), "return target"]
        return viper(lines), steps.result(steps.loc(image, one.phrase.text))
    anchor = one.anchor.phrase.text
    image = steps.crop(image, steps.loc(image, anchor), CROPS[one.relation])
    middle, sign = COMPARISONS[one.relation]
    lines += [
        *first("anchor", "image_patch", anchor),
        f'patches = image_patch.find("{one.phrase.text}")',
        f"found = [p for p in patches if p.{middle} {sign} anchor.{middle}]",
        "return found[0] if found else image_patch",
    ]
    return viper(lines), steps.result(steps.loc(image, one.phrase.text))


def _extreme(rng: Random, things: Sequence[Thing]) -> _Expression | None:
    word = rng.choice(list(_EXTREMES))
    anchor, crop, middle, least, axis, direction = _EXTREMES[word]
    name = rng.choice(things)["name"]
    fit = sorted(
        (t for t in things if t["name"] == name), key=lambda t: direction * center(t)[axis]
    )
    # It alone stands in its half of the image, so that both dialects find the same thing.
    sides = [direction * (SIDE / 2 - center(thing)[axis]) for thing in fit]
    if len(fit) < 2 or sides[0] < NO or sides[1] > -NO:
        return None
    steps = Visprog()
    half = steps.crop("IMAGE", steps.loc("IMAGE", anchor), crop)
    lines = [
        "image_patch = ImagePatch(image)",
        f'patches = image_patch.find("{name}")',
        "if not patches:",
        "    return image_patch",
        f"return {least}(patches, key=lambda p: p.{middle})",
    ]
    program = steps.result(steps.loc(half, name))
    return _Expression(f"the {word} {name}", fit[0], viper(lines), program)
