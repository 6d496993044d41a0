"""Boxes compared: overlap, and who matches whom."""

from collections.abc import Sequence

Corners = Sequence[float]  # x0, y0, x1, y1


def overlap(a: Corners, b: Corners) -> float:
    """Intersection over union of two boxes."""
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
