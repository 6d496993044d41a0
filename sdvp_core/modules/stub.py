"""Modules without a model: answers made from a hash of the call. For tests and dry runs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import to_json
from sdvp_core.base.wording import parse
from sdvp_core.modules.call import Box, Call, Module, Output

NAMES = ("locate", "vqa", "match", "depth", "knowledge")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
WORDS = (*COLOURS, "circle", "square", "triangle", "plain", "striped", "small", "big")


@dataclass(frozen=True, slots=True)
class Stub:
    """Stands behind one module name. Equal calls get equal answers in every process."""

    module: str

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        return [_ANSWERS[self.module](call, _digest(call)) for call in calls]


def load() -> dict[str, Module]:
    """A stub for every module name."""
    return {name: Stub(name) for name in NAMES}


def _digest(call: Call) -> bytes:
    text = to_json([call.module, call.image_id, list(call.region), list(call.texts)])
    return hashlib.sha256(text.encode()).digest()


def _locate(call: Call, digest: bytes) -> Output:
    """None to two boxes inside the region (none once in eight calls)."""
    count = 0 if digest[0] % 8 == 0 else 1 + digest[0] % 2
    boxes = tuple(_box(call.region, digest[4 * i + 1 : 4 * i + 5]) for i in range(count))
    scores = tuple(round(0.9 - 0.2 * i, 2) for i in range(count))
    return Output(boxes=boxes, scores=scores, confidence=scores[0] if scores else 0.0)


def _box(region: Box, digest: bytes) -> Box:
    """A box a fifth to a half as wide and high as the region."""
    x0, y0, x1, y1 = region
    width = (x1 - x0) * (0.2 + 0.3 * digest[0] / 255)
    height = (y1 - y0) * (0.2 + 0.3 * digest[1] / 255)
    left = x0 + (x1 - x0 - width) * digest[2] / 255
    top = y0 + (y1 - y0 - height) * digest[3] / 255
    return left, top, left + width, top + height


def _vqa(call: Call, digest: bytes) -> Output:
    question = call.texts[0].lower()
    parsed = parse(question)
    if question.startswith("how many"):
        answer = str(digest[0] % 5)
    elif parsed is not None and parsed.kind == "choose":
        answer = parsed.options[digest[0] % len(parsed.options)]
    elif question.startswith(("is ", "are ", "does ", "do ", "was ", "has ", "can ")):
        answer = ("yes", "no")[digest[0] % 2]
    elif "color" in question or "colour" in question:
        answer = COLOURS[digest[0] % len(COLOURS)]
    else:
        answer = WORDS[digest[0] % len(WORDS)]
    return Output(answer=answer, confidence=0.5 + digest[1] / 512)


def _match(call: Call, digest: bytes) -> Output:
    scores = tuple((digest[i % len(digest)] + 1) / 257 for i in range(len(call.texts)))
    best = max(range(len(scores)), key=scores.__getitem__)
    return Output(answer=call.texts[best], scores=scores, confidence=scores[best])


def _depth(call: Call, digest: bytes) -> Output:
    return Output(answer=str(1 + digest[0] / 64), confidence=1.0)


def _knowledge(call: Call, digest: bytes) -> Output:
    return Output(answer=WORDS[digest[0] % len(WORDS)], confidence=0.5)


_ANSWERS = {
    "locate": _locate,
    "vqa": _vqa,
    "match": _match,
    "depth": _depth,
    "knowledge": _knowledge,
}
