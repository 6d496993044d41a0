"""Whether a program's answer is right, and whether one step's output is.

The official scorers of GQA and NLVR2 compare strings exactly. Whatever they accept is right here as
well; beyond that, an answer is right only where it differs by case, articles in front, blanks,
Python's booleans (or true / false) for yes and no, or numerals for number words up to twenty. No
stemming, no synonyms, no partial credit.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sdvp_core.base.ontology import ARTICLES

Box = Sequence[float]
IOU_THRESHOLD = 0.5

_YES = frozenset(("yes", "true"))
_NO = frozenset(("no", "false"))
_NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
}
_NUMERAL = re.compile(r"[+-]?\d+(\.\d+)?")


def correct(
    answer: Any, question: Mapping[str, Any], image_size: tuple[int, int] | None = None
) -> bool:
    """Score one answer of a program.

    ``answer`` is a decoded JSON value, None where the program failed (always wrong). ``question``
    has ``answer`` (text; JSON ``[x0, y0, x1, y1]`` for boxes) and ``answer_type``. A box counts
    from IoU 0.5 after clipping to ``image_size`` (width, height in pixels), where it is given.
    Raises ``ValueError`` for an unknown answer type.
    """
    expected, kind = question["answer"], question["answer_type"]
    if kind not in ("word", "yesno", "truth", "number", "box"):
        raise ValueError(f"unknown answer_type {kind!r}")
    if answer is None or expected is None:
        return False
    if kind == "word":
        return normalised(answer) == normalised(expected)
    if kind == "box":
        found, wanted = _first_box(answer, image_size), _first_box(_decoded(expected), image_size)
        return found is not None and wanted is not None and iou(found, wanted) >= IOU_THRESHOLD
    reading = number if kind == "number" else truth
    return reading(answer) is not None and reading(answer) == reading(expected)


def normalised(answer: Any) -> str:
    """Lower case, single blanks, no articles in front; "" for what is no word or number."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if not isinstance(answer, str | int | float):
        return ""
    try:
        words = str(answer).lower().split()
    except ValueError:  # an integer of more digits than Python turns into text
        return ""
    while len(words) > 1 and words[0] in ARTICLES:
        words.pop(0)
    return " ".join(words)


def truth(answer: Any) -> bool | None:
    """yes, true, True -> True; no, false, False -> False; anything else (1 and 0 too) -> None."""
    text = normalised(answer)
    return True if text in _YES else False if text in _NO else None


def number(answer: Any) -> float | None:
    """3, 3.0, "3" and "three" -> 3.0; booleans, infinities and other words -> None."""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    text = normalised(answer)
    if text in _NUMBER_WORDS:
        return float(_NUMBER_WORDS[text])
    try:
        value = float(text) if isinstance(answer, float) or _NUMERAL.fullmatch(text) else math.inf
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 where both are empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (_area(first) + _area(second) - shared)


def step_correct(module: str, output: Any, oracle: Any) -> bool:
    """Whether a step's output (JSON value of the `output` column) says what the oracle says.

    locate: as many boxes, and each true box has one of its own with IoU >= 0.5 (greedy by IoU).
    match: the same best option; for one option the same side of 0.5. Others: the same word.
    """
    if output is None or oracle is None:
        return output is None and oracle is None
    if module == "locate":
        return len(output) == len(oracle) and _all_matched(output, oracle)
    if module == "match":
        if len(output) != len(oracle):
            return False
        return _choice(output) == _choice(oracle)
    return normalised(output) == normalised(oracle)


def _choice(scores: Sequence[float]) -> int:
    if len(scores) == 1:
        return int(scores[0] >= 0.5)
    return max(range(len(scores)), key=lambda i: scores[i]) if scores else -1


def _all_matched(found: Sequence[Box], wanted: Sequence[Box]) -> bool:
    pairs = sorted(
        ((iou(f, w), i, j) for i, f in enumerate(found) for j, w in enumerate(wanted)),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    left, right = set(range(len(found))), set(range(len(wanted)))
    for overlap, i, j in pairs:
        if overlap >= IOU_THRESHOLD and i in left and j in right:
            left.remove(i)
            right.remove(j)
    return not right


def _first_box(value: Any, image_size: tuple[int, int] | None) -> tuple[float, ...] | None:
    """The box, or the first of a list of boxes, clipped; None for anything else."""
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        value = value[0]
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    corners = tuple(number(c) if not isinstance(c, str) else None for c in value)
    if any(c is None for c in corners):
        return None
    x0, y0, x1, y1 = corners
    if image_size is not None:
        width, height = image_size
        x0, x1 = (min(max(x, 0.0), float(width)) for x in (x0, x1))
        y0, y1 = (min(max(y, 0.0), float(height)) for y in (y0, y1))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _decoded(expected: Any) -> Any:
    if not isinstance(expected, str):
        return expected
    try:
        return json.loads(expected)
    except json.JSONDecodeError:
        return None


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
