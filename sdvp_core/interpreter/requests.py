"""What a program asks, checked: it may have forged every part of it; and what it is answered."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdvp_core.interpreter.session import json_value
from sdvp_core.modules.call import Box, Call, Output

MODULES = ("locate", "vqa", "match", "depth", "knowledge")
MOST_TEXTS = 64
LONGEST_TEXT = 1000  # characters
MOST_PARENTS = 32
# Of a program in all. A call of the programs this project knows asks at most 2 texts and sends at
# most 180 characters, texts and arguments together; the default limit allows 500 calls. What a
# program sends stays in memory until its row is written, and a module spends time on every text.
MOST_TEXTS_ASKED = 2_000
MOST_CHARACTERS_SENT = 200_000


class Refused(Exception):
    """A request that the host will not pass on, with the status its program ends with."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Spent:
    """What a program has asked so far: texts, and characters of texts and arguments."""

    texts: int = 0
    characters: int = 0

    def add(self, call: Call, arguments: Mapping[str, Any]) -> None:
        """Count a call. Raises ``Refused`` with the status "limit" beyond the budget."""
        self.texts += len(call.texts)
        self.characters += sum(map(len, call.texts)) + _length(arguments)
        if self.texts > MOST_TEXTS_ASKED:
            raise Refused("limit", f"asks more than {MOST_TEXTS_ASKED} texts in all")
        if self.characters > MOST_CHARACTERS_SENT:
            raise Refused("limit", f"sends more than {MOST_CHARACTERS_SENT} characters in all")


def _length(arguments: Mapping[str, Any]) -> int:
    return len(json.dumps(arguments, ensure_ascii=False))


def checked_call(
    arguments: Sequence[Any], sizes: Mapping[str, tuple[int, int]], steps: int
) -> tuple[Call, tuple[int, ...], dict[str, Any]]:
    """The call, parents and arguments of a request, which a program may have forged.

    Raises ``ValueError`` for what an honest program can get wrong (a text that is none, an empty
    region), ``Refused`` for what only a forged handle asks.
    """
    if len(arguments) != 4:
        raise Refused("forbidden", "calls the host by itself")
    module, handle, texts, given = arguments
    if module not in MODULES or not isinstance(handle, list) or len(handle) != 6:
        raise Refused("forbidden", "calls the host by itself")
    image_id, *box, history = handle
    if not isinstance(image_id, str) or image_id not in sizes:
        raise Refused("forbidden", "looks at an image that is not its own")
    call = Call(module, image_id, _region(box, sizes[image_id]), checked_texts(texts))
    return call, _parents(history, steps), _arguments(given)


def _region(box: Sequence[Any], size: tuple[int, int]) -> Box:
    if not all(map(_is_number, box)):
        raise ValueError("the region is not made of four numbers")
    clipped = _clip(box, size)
    if clipped is None:
        raise ValueError("the region has no area inside the image")
    return clipped


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


def _clip(box: Sequence[float], size: tuple[int, int]) -> Box | None:
    x0, x1 = (min(max(float(c), 0.0), float(size[0])) for c in (box[0], box[2]))
    y0, y1 = (min(max(float(c), 0.0), float(size[1])) for c in (box[1], box[3]))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def checked_texts(texts: Any) -> tuple[str, ...]:
    """The texts of a call as a module takes them. Raises ``ValueError`` for what it cannot take."""
    if not isinstance(texts, (list, tuple)) or not all(isinstance(t, str) for t in texts):
        raise ValueError("a module is asked with text only")
    if not texts or len(texts) > MOST_TEXTS or max(map(len, texts)) > LONGEST_TEXT:
        raise ValueError(f"a module takes 1 to {MOST_TEXTS} texts of {LONGEST_TEXT} characters")
    return tuple(text.encode("utf-8", "replace").decode() for text in texts)


def _parents(history: Any, steps: int) -> tuple[int, ...]:
    """Bookkeeping only, so that a forged history is cut to what can be true."""
    items = history if isinstance(history, (list, tuple)) else ()
    known = [i for i in items if type(i) is int and 0 <= i < steps]
    return tuple(dict.fromkeys(known))[:MOST_PARENTS]


def _arguments(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Refused("forbidden", "calls the host by itself")
    return json_value(given)


def program_value(call: Call, output: Output, size: tuple[int, int]) -> Any:
    """What the program gets. Boxes are clipped to the image; those without area are left out."""
    if output.error is not None:
        raise Refused("module_error", f"{call.module}: {output.error}")
    if call.module == "locate":
        clipped = [_clip(box, size) for box in output.boxes]
        return [list(box) for box in clipped if box is not None]
    if call.module == "match":
        if len(output.scores) != len(call.texts):
            raise Refused("module_error", "match: a score is missing")
        return [float(score) for score in output.scores]
    if output.answer is None:
        raise Refused("module_error", f"{call.module}: there is no answer")
    return float(output.answer) if call.module == "depth" else str(output.answer)
