"""What a scene of the embedded world holds: shapes, where they stand, and their annotations.

A scene is 100 x 100 px with 2 to 5 shapes whose boxes do not overlap. Some stand within a pixel or
two of each other, so that a crop enlarged around one of them shows parts of another.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sdvp_core.base.ontology import SHAPES

SIDE = 100  # px, width and height of a scene
COLORS = ("red", "green", "blue", "yellow", "purple", "black")
PATTERNS = ("plain", "striped", "hollow")
CATEGORIES = ("object", "shape", "item")


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape. ``box`` is (x0, y0, x1, y1) in pixels, ``angle`` in radians."""

    name: str
    color: str
    pattern: str
    angle: float
    box: tuple[float, float, float, float]


def outline(name: str, angle: float) -> list[tuple[float, float]]:
    """The corners of a shape turned by ``angle``, scaled so that the longer side of its box is 1.

    The box's top-left corner is (0, 0). Empty for circle and ring, which have no corners.
    """
    if name in ("circle", "ring"):
        return []
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [(x * cos - y * sin, x * sin + y * cos) for x, y in _CORNERS[name]]
    left, top = min(x for x, _ in turned), min(y for _, y in turned)
    longest = max(max(x for x, _ in turned) - left, max(y for _, y in turned) - top)
    return [((x - left) / longest, (y - top) / longest) for x, y in turned]


def sample_things(
    rng: Random, sizes: tuple[float, float] = (16, 34), turn: float = 0.2
) -> list[Thing]:
    """2 to 5 things; ``sizes`` in pixels (the longer side), ``turn`` the largest angle."""
    things: list[Thing] = []
    wanted = rng.choice((2, 3, 3, 4, 4, 5, 5))
    for _ in range(60):
        if len(things) == wanted:
            break
        name, color, pattern = _looks_of(rng, things)
        angle = rng.uniform(-turn, turn)
        box = _place(rng, things, _extent(name, angle), rng.uniform(*sizes))
        if box is not None:
            things.append(Thing(name, color, pattern, angle, box))
    return things if len(things) >= 2 else sample_things(rng, sizes, turn)


def annotate(things: Sequence[Thing]) -> list[dict[str, Any]]:
    """The objects of an annotation row (base/records.OBJECT) of a scene."""
    return [
        {
            "object_id": str(index + 1),
            "name": thing.name,
            "categories": list(CATEGORIES),
            "attributes": [thing.color, thing.pattern],
            "box": [round(c, 2) for c in thing.box],
        }
        for index, thing in enumerate(things)
    ]


def _looks_of(rng: Random, things: Sequence[Thing]) -> tuple[str, str, str]:
    # Half of the newcomers share a name or a colour with a thing that is there already: without
    # that a name alone would nearly always be a unique description.
    name, color, pattern = rng.choice(SHAPES), rng.choice(COLORS), rng.choice(PATTERNS)
    if things and rng.random() < 0.5:
        other = rng.choice(things)
        if rng.random() < 0.6:
            name = other.name
        else:
            color = other.color
    if any((t.name, t.color, t.pattern) == (name, color, pattern) for t in things):
        return _looks_of(rng, things)
    return name, color, pattern


def _extent(name: str, angle: float) -> tuple[float, float]:
    corners = outline(name, angle)
    if not corners:
        return 1.0, 1.0
    return max(x for x, _ in corners), max(y for _, y in corners)


def _place(
    rng: Random, things: Sequence[Thing], extent: tuple[float, float], size: float
) -> tuple[float, float, float, float] | None:
    width, height = extent[0] * size, extent[1] * size
    x, y = rng.uniform(1, SIDE - 1 - width), rng.uniform(1, SIDE - 1 - height)
    if things and rng.random() < 0.35:
        x, y = _beside(rng, rng.choice(things).box, width, height)
    box = (x, y, x + width, y + height)
    if x < 1 or y < 1 or box[2] > SIDE - 1 or box[3] > SIDE - 1:
        return None
    return None if any(_overlap(box, thing.box) for thing in things) else box


def _beside(
    rng: Random, box: tuple[float, float, float, float], width: float, height: float
) -> tuple[float, float]:
    gap = rng.uniform(1, 4)
    if rng.random() < 0.5:
        y = rng.uniform(box[1] - height / 2, box[3] - height / 2)
        return (box[2] + gap if rng.random() < 0.5 else box[0] - gap - width), y
    x = rng.uniform(box[0] - width / 2, box[2] - width / 2)
    return x, (box[3] + gap if rng.random() < 0.5 else box[1] - gap - height)


def _overlap(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float], gap: float = 1.0
) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def _star() -> list[tuple[float, float]]:
    points = []
    for k in range(10):
        radius = 0.5 if k % 2 == 0 else 0.21
        points.append((radius * math.sin(k * math.pi / 5), -radius * math.cos(k * math.pi / 5)))
    return points


_ARM = 0.17  # half the width of a cross's bars, of its side
_CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)],
    "triangle": [(0.0, -0.5), (0.5, 0.42), (-0.5, 0.42)],
    "star": _star(),
    "cross": [
        *[(-_ARM, -0.5), (_ARM, -0.5), (_ARM, -_ARM), (0.5, -_ARM), (0.5, _ARM), (_ARM, _ARM)],
        *[(_ARM, 0.5), (-_ARM, 0.5), (-_ARM, _ARM), (-0.5, _ARM), (-0.5, -_ARM), (-_ARM, -_ARM)],
    ],
}
