"""Answers to sub-questions, read from the annotated objects of an image.

Besides the wording of wording.py it knows relations and stacks, as programs for NLVR ask them:
"Is there a black square touching only blue squares?", "Is the block at the top yellow?". The
oracle answers with it, and a teacher's training questions can be labelled with it.
"""

from collections.abc import Sequence

from sdvp_core.base import wording
from sdvp_core.base.ontology import attribute, holds
from sdvp_core.base.sample import Box
from sdvp_core.base.scene_annotated import Annotated, Relation
from sdvp_core.base.scene_relations import (
    Scene,
    Thing,
    center_x,
    center_y,
    is_relational,
    overlap,
    yes_or_no,
)

INWARD = 0.5  # px: a thing whose centre is the line along which a region was cut is outside


def question_answer(
    objects: Sequence[Thing], region: Box, question: str, relations: Sequence[Relation] = ()
) -> str | None:
    """The answer to a sub-question about a region (pixels, origin top-left), or None.

    None where the question is not understood, or asks what the annotations do not tell. Annotated
    relations are tried before what boxes tell.
    """
    inside = things_inside(objects, region)
    if relations:
        it = thing_meant(objects, region)
        answer = Annotated(objects, relations, region, inside, it).answer(question)
        if answer is not None:
            return answer
    things = [thing for thing in inside if not _is_frame(thing, inside)]
    answer = Scene(things, region).answer(question)
    return _simple(objects, inside, region, question) if answer is None else answer


def things_inside(objects: Sequence[Thing], region: Box) -> list[Thing]:
    """The objects whose centre is inside a region by INWARD px or more, from left to right."""
    x0, y0, x1, y1 = region
    found = [
        thing
        for thing in objects
        if x0 + INWARD < center_x(thing) < x1 - INWARD
        and y0 + INWARD < center_y(thing) < y1 - INWARD
    ]
    return sorted(found, key=lambda thing: (thing["box"][0], thing["box"][1]))


def thing_meant(objects: Sequence[Thing], region: Box) -> Thing | None:
    """The object a crop shows ("it"): it overlaps the region best, or else is nearest to it."""
    return max(
        objects,
        key=lambda thing: (overlap(thing["box"], region), -_off(thing, region)),
        default=None,
    )


def _simple(
    objects: Sequence[Thing], inside: Sequence[Thing], region: Box, question: str
) -> str | None:
    asked = wording.parse(question)
    if asked is None or is_relational(asked.subject):
        return None  # "black square touching ..." would be a description that nothing fits
    matching = [thing for thing in inside if holds(thing, asked.subject)]
    if asked.kind == "count":
        return str(len(matching))
    if asked.kind == "exists":
        return yes_or_no(bool(matching))
    if asked.subject in ("it", "this", "that"):
        meant = thing_meant(objects, region)
    else:
        meant = min(matching, key=lambda thing: _off(thing, region), default=None)
    if meant is None:
        return None
    if asked.kind == "is":
        return yes_or_no(holds(meant, asked.value))
    if asked.kind == "choose":
        return next((option for option in asked.options if holds(meant, option)), None)
    return attribute(meant, asked.kind)


def _is_frame(thing: Thing, things: Sequence[Thing]) -> bool:
    """A thing that holds others, as NLVR's grey boxes do."""
    x0, y0, x1, y1 = thing["box"]
    return any(
        other is not thing
        and (x1 - x0) > 1.5 * (other["box"][2] - other["box"][0])
        and x0 <= other["box"][0] + INWARD
        and other["box"][2] <= x1 + INWARD
        and y0 <= other["box"][1] + INWARD
        and other["box"][3] <= y1 + INWARD
        for other in things
    )


def _off(thing: Thing, region: Box) -> float:
    """Squared distance between the centres of a thing and a region."""
    x, y = (region[0] + region[2]) / 2, (region[1] + region[3]) / 2
    return (center_x(thing) - x) ** 2 + (center_y(thing) - y) ** 2
