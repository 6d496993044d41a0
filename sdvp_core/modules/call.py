"""What a program asks of a module, and what a module answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sdvp_core.base.images import ImageStore

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Call:
    """One module call. Equal calls have equal answers, so they are computed once.

    ``region`` is in pixels of the original image (top-left origin), already clipped to it.
    ``texts`` holds one question (vqa), one object name (locate) or the options (match).
    """

    module: str
    image_id: str
    region: Box
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """A module's answer.

    vqa: ``answer`` and its probability as ``confidence``. locate: ``boxes`` in pixels of the
    original image by falling ``scores``; ``confidence`` is the best score, 0 where none is found.
    match: ``scores``, one probability an option; ``answer`` the best option. ``error`` is set where
    the module could not answer this call (then the program gets a module error). ``handed`` is what
    the program gets in its place under teacher forcing; the step records the student's own.
    """

    answer: str | None = None
    boxes: tuple[Box, ...] = ()
    scores: tuple[float, ...] = ()
    confidence: float = 0.0
    error: str | None = None
    handed: "Output | None" = None

    def value(self, module: str) -> Any:
        """The JSON value that goes into the `output` column of the steps table."""
        if module == "locate":
            return [[round(float(c), 2) for c in box] for box in self.boxes]
        if module == "match":
            return [round(float(s), 4) for s in self.scores]
        return self.answer


def call_of(step: Mapping[str, Any]) -> Call:
    """The module call that a row of the steps table, or of the supervision table, records."""
    texts = tuple(step["text"].split(" | ")) if step["module"] == "match" else (step["text"],)
    x0, y0, x1, y1 = (float(c) for c in step["region"])
    return Call(step["module"], step["image_id"], (x0, y0, x1, y1), texts)


class Module(Protocol):
    """Anything that can stand behind a module name: a student, a stub, an oracle, a teacher."""

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """One output per call, in order. Never raises for one bad call: sets its ``error``."""
        ...
