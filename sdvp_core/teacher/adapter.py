"""What turns a step into the teacher's input: the adapter and its visual pointer.

Strategies: `none` the region and the text as they are; `name` the visual pointer prompt, the
description the thing was found by in place of "it"; `lineage` the whole image and a referring
expression from the step's ancestry; `box` the whole image with the region outlined. A step that
offers nothing to point with falls back to `none`, and says so.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdvp_core.base import wording
from sdvp_core.base.ontology import KIND_OF, SHAPES
from sdvp_core.base.sample import Box
from sdvp_core.teacher.examples import SIDES

STRATEGIES = ("none", "name", "lineage", "box")
Step = Mapping[str, Any]  # a row of records.STEPS
_CUTS = {
    **{"CROP_LEFTOF": SIDES[0], "CROP_RIGHTOF": SIDES[1]},
    **{"CROP_ABOVE": SIDES[2], "CROP_BELOW": SIDES[3]},
}
_DEEPEST = 3  # generations that a referring expression names
_SLACK = 1.5  # px: how far from a line a border drawn along it may lie
_GROWN = 3.0  # a crop is at most so many times as large as the box it was made of
# "that" is a pronoun only right behind the verb: "the star that is striped" names its thing.
_IT = re.compile(r"\bit\b|(?<=\bis )(?:this|that)\b(?! is)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TeacherInput:
    """What the teacher is asked for one step.

    ``adapter`` is the strategy that was used in the end, ``pointer`` the words that say which thing
    is meant. ``questions`` has one entry for vqa and locate, and for match one entry an option:
    the questions that must all be answered yes. ``region`` is what the teacher looks at, ``drawn``
    what is outlined in it (pixels of the image). ``searched``: nothing was found by that name
    where the region was searched, so that the name alone says what is meant.
    """

    adapter: str
    pointer: str | None
    questions: tuple[tuple[str, ...], ...]
    region: Box
    drawn: Box | None = None
    searched: bool = False

    @property
    def text(self) -> str:
        """The questions as one text, for the table."""
        return " | ".join(" & ".join(option) for option in self.questions)


def refers(question: str) -> bool:
    """Whether a question is about "it": what that is must be seen, or said by a pointer."""
    return bool(_IT.search(question))


def adapt(
    step: Step, steps: Mapping[int, Step], size: tuple[int, int], strategy: str
) -> TeacherInput:
    """The teacher's input for a step; ``steps`` holds the steps of its trace by index.

    ``size`` is (width, height) of the step's image in pixels. Raises ``ValueError`` for an unknown
    strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"no adapter strategy {strategy!r}: use one of {', '.join(STRATEGIES)}")
    region, whole = _box(step["region"]), (0.0, 0.0, float(size[0]), float(size[1]))
    if step["module"] == "locate":
        return TeacherInput("none", None, ((step["text"],),), whole)
    finder = found_by(step, steps)
    pointer = None if finder is None else finder["text"]
    if strategy == "none" or pointer is None:
        return TeacherInput("none", None, _asked(step, None), region)
    if strategy == "box":
        return TeacherInput("box", None, _asked(step, None), whole, region)
    if strategy == "name":
        vain = not boxes_given(finder)
        return TeacherInput("name", pointer, _asked(step, pointer), region, searched=vain)
    expression = referring(finder, steps)
    return TeacherInput("lineage", expression, _asked(step, expression), whole)


def found_by(step: Step, steps: Mapping[int, Step]) -> Step | None:
    """The step that found the thing in the middle of a step's region, or None.

    It is a parent of module locate one of whose boxes is the region, or is what the region was
    enlarged from; or one that found nothing there, and whose text still says what is meant. A half
    of the image, cut beside a found thing, does not show that thing.
    """
    region = _box(step["region"])
    for index in step["parents"]:
        parent = steps.get(index)
        if parent is None or parent["module"] != "locate":
            continue
        boxes = boxes_given(parent)
        # VisProg's CROP of nothing found is all that was searched: the thing may be in there.
        searched = not boxes and region == _box(parent["region"])
        if parent["image_id"] == step["image_id"] and (
            searched or any(_made_of(region, box) for box in boxes)
        ):
            return parent
    return None


def boxes_given(step: Step) -> list[Sequence[float]]:
    """The boxes a locate step gave the program: the student's, or those handed over for them."""
    arguments = json.loads(step["arguments"] or "{}")
    return arguments["handed"] if "handed" in arguments else json.loads(step["output"] or "[]")


def referring(finder: Step, steps: Mapping[int, Step], depth: int = 1) -> str:
    """ "square to the left of the red circle": what a find was asked for, and where."""
    anchor = next((steps[i] for i in finder["parents"] if i in steps), None)
    if anchor is None or anchor["module"] != "locate" or depth >= _DEEPEST:
        return finder["text"]
    side = _side(finder, anchor)
    if side is None:
        return finder["text"]
    return f"{finder['text']} {side} the {referring(anchor, steps, depth + 1)}"


def _side(finder: Step, anchor: Step) -> str | None:
    """On which side of the anchor's box the finder looked."""
    cut = json.loads(finder["arguments"]).get("crop") if finder["arguments"] else None
    if cut in _CUTS:
        return _CUTS[cut]
    region = _box(finder["region"])
    for box in boxes_given(anchor):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        lines = (region[2] - x, x - region[0], region[3] - y, y - region[1])
        edges = (region[2] - box[0], box[2] - region[0], region[3] - box[1], box[3] - region[1])
        for side, to_middle, to_edge in zip(SIDES, lines, edges, strict=True):
            if min(abs(to_middle), abs(to_edge)) <= _SLACK:
                return side
    return None


def _asked(step: Step, pointer: str | None) -> tuple[tuple[str, ...], ...]:
    if step["module"] == "match":
        return tuple(_options(option, pointer) for option in step["text"].split(" | "))
    return ((pointed(step["text"], pointer),),)


def pointed(question: str, pointer: str | None) -> str:
    """The question with the pointer in place of "it": "What color is the curtain?"."""
    if pointer is None:
        return question
    asked = wording.parse(question)
    if asked is not None and asked.subject not in ("it", "this", "that"):
        return question
    return _IT.sub(wording.the(pointer), question, count=1)


def _options(option: str, pointer: str | None) -> tuple[str, ...]:
    """ "red square" -> ("Is the square red?", "Is it a square?"): all of it must be true.

    The second question is there because the pointer itself may be wrong: the student may have found
    a circle where it looked for squares.
    """
    words = option.split()
    noun = len(words) > 1 or _is_noun(option)
    if pointer is None:
        return (wording.verify(option, noun=noun),)
    if option == pointer:
        return (wording.verify(option, noun=True),)
    head = pointer.split()[-1]
    if len(words) > 1 and words[-1] == head:
        value = " ".join(words[:-1])
        return tuple(
            [wording.verify(value, pointer, _is_noun(value)), *_head_question(head)],
        )
    return (wording.verify(option, pointer, noun),)


def _head_question(head: str) -> list[str]:
    return [wording.verify(head, noun=True)] if head in SHAPES or head not in _GENERIC else []


_GENERIC = ("object", "thing", "item", "shape", "block")  # true of whatever was found


def _is_noun(value: str) -> bool:
    return KIND_OF.get(value, "name") in ("shape", "name")


def _made_of(region: Box, box: Sequence[float]) -> bool:
    """Whether a region is a found box, or that box enlarged and clipped to the image."""
    inside = all(
        (
            *(box[0] >= region[0] - _SLACK, box[1] >= region[1] - _SLACK),
            *(box[2] <= region[2] + _SLACK, box[3] <= region[3] + _SLACK),
        )
    )
    area = max(1e-6, (box[2] - box[0]) * (box[3] - box[1]))
    return inside and (region[2] - region[0]) * (region[3] - region[1]) <= _GROWN * area


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in values)
    return (x0, y0, x1, y1)
