"""Outputs compared: boxes by their overlap, who matches whom, and whether two say the same."""

from collections.abc import Sequence
from typing import Any

Corners = Sequence[float]  # x0, y0, x1, y1


def overlap(a: Corners, b: Corners) -> float:
    """Intersection over union of two boxes; 0 where they share nothing, or one is empty."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def matched(
    found: Sequence[Corners], true: Sequence[Corners], least: float = 0.5
) -> list[tuple[int, int]]:
    """Pairs of places, one to one, with an IoU of ``least`` or more, the best first."""
    pairs = sorted(
        ((overlap(a, b), -i, -j) for i, a in enumerate(found) for j, b in enumerate(true)),
        reverse=True,
    )
    used_found, used_true, result = set(), set(), []
    for value, i, j in pairs:
        if value >= least and i not in used_found and j not in used_true:
            used_found.add(i)
            used_true.add(j)
            result.append((-i, -j))
    return result


def same(module: str, first: Any, second: Any) -> bool:
    """Whether two outputs (JSON values of the `output` column) say the same.

    vqa: the same word. locate: as many boxes, matched one to one at IoU 0.5. match: the same best
    option, or for one option the same side of 0.5.
    """
    if first is None or second is None:
        return False
    if module == "locate":
        return len(first) == len(second) == len(matched(first, second))
    if module == "match":
        return len(first) == len(second) and _choice(first) == _choice(second)
    return str(first).strip().lower() == str(second).strip().lower()


def _choice(scores: Sequence[float]) -> int:
    if len(scores) == 1:
        return int(scores[0] >= 0.5)
    return max(range(len(scores)), key=lambda i: scores[i]) if scores else -1
