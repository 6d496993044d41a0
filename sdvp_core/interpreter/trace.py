"""What an execution leaves behind: the module calls it made, in order, and its answer."""

from dataclasses import dataclass, field
from typing import Any

from sdvp_core.modules.call import Call, Output


@dataclass(slots=True)
class Step:
    """One module call. ``parents`` are the indices of the steps that its region came from.

    The first parent is the step that found the thing in the region; the others only drew its
    borders. ``arguments`` holds what the program gave, ``op`` (LOC, find, ...), and ``crop``
    (CROP_LEFTOF, crop, TOP, ...) where the region was cut out by such an operation.
    """

    index: int
    parents: tuple[int, ...]
    arguments: dict[str, Any]
    call: Call
    output: Output


@dataclass(slots=True)
class Trace:
    """``answer`` is a JSON value, null unless ``status`` is "ok"; ``error`` is one line.

    A box in an answer is [x0, y0, x1, y1] in pixels of the original image, origin top-left.
    """

    key: str
    status: str
    error: str | None = None
    answer: Any = None
    steps: list[Step] = field(default_factory=list)


@dataclass(slots=True)
class Statistics:
    """Counts of a run: ``calls`` = ``unique_calls`` - ``ahead`` + ``cache_hits``.

    ``ahead`` calls were computed before a program asked them; ``forwards`` are batches, and
    ``largest_batch`` counts what a model encoded, not the texts asked of it, in batches that it
    answered; ``short_of_memory`` are the batches that did not fit.
    """

    programs: int = 0
    calls: int = 0
    unique_calls: int = 0
    forwards: int = 0
    cache_hits: int = 0
    ahead: int = field(default=0, compare=False)
    largest_batch: int = field(default=0, compare=False)
    short_of_memory: int = field(default=0, compare=False)


def one_line(message: object, longest: int = 300) -> str:
    """The text of an error on one line, cut to ``longest`` characters."""
    return " ".join(str(message).split())[:longest]
