"""Whether a program's answer is right, and whether one step's output is.

The official scorers of GQA and NLVR2 compare strings exactly. Whatever they accept is right here as
well; beyond that, an answer is right only where it differs by case, articles in front, blanks,
Python's booleans (or true / false) for yes and no, or numerals for number words up to twenty. No
stemming, no synonyms, no partial credit.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from sdvp_core.base.compare import overlap, same
from sdvp_core.base.ontology import ARTICLES

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


def correct(answer: Any, question: Mapping[str, Any]) -> bool:
    """Score one answer of a program.

    ``answer`` is a decoded JSON value, None where the program failed (always wrong). ``question``
    has ``answer`` (text; JSON ``[x0, y0, x1, y1]`` for boxes) and ``answer_type``. A box counts
    from IoU 0.5.
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
        found, wanted = _first_box(answer), _first_box(_decoded(expected))
        return found is not None and wanted is not None and overlap(found, wanted) >= IOU_THRESHOLD
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


def step_correct(module: str, output: Any, oracle: Any) -> bool:
    """Whether a step's output (JSON value of the `output` column) says what the oracle says.

    locate and match are compared as the teacher's targets are (base/compare.py); a word as the
    answer of a program is, so that articles, booleans and case do not count.
    """
    if output is None or oracle is None:
        return output is None and oracle is None
    if module in ("locate", "match"):
        return same(module, output, oracle)
    return normalised(output) == normalised(oracle)


def _first_box(value: Any) -> tuple[float, ...] | None:
    """The box, or the first of a list of boxes; None for anything else."""
    if isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple):
        value = value[0]
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    corners = tuple(number(c) if not isinstance(c, str) else None for c in value)
    if any(c is None for c in corners):
        return None
    x0, y0, x1, y1 = corners
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _decoded(expected: Any) -> Any:
    if not isinstance(expected, str):
        return expected
    try:
        return json.loads(expected)
    except json.JSONDecodeError:
        return None
