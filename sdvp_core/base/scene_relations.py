"""Sub-questions about relations and stacks, as programs for NLVR ask them of a box.

"Is there a black square touching only blue squares?", "How many items are touching the wall?", "Is
the second block from the base yellow?": a small grammar over annotated objects.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdvp_core.base.ontology import attribute, holds
from sdvp_core.base.sample import Box

Thing = Mapping[str, Any]  # an annotation object: records.OBJECT
TOUCH = 2.0  # px: the widest gap between things that touch
NEAR = 10.0  # px: the same for "nearly touching"

_DESCRIBED = r"(?P<noun>[a-z ]+?)"
_RELATION = (
    "nearly touching|touching|touches|attached to|close to|directly on top of|directly above"
    "|on top of|above|over|below|under|between"
)
# "black square that is not touching the wall": a description, a relation, and to what.
_RELATED = re.compile(
    rf"^{_DESCRIBED} (?:(?:that|which) )?(?:(?:is|are) )?(?P<no>not )?"
    rf"(?P<relation>{_RELATION}) (?P<to>.+)$"
)
_WALL = re.compile(
    r"^(?:an? |the |any )?(?P<side>bottom|top|left|right)?(?: (?=wall|edge|side))?"
    r"(?P<word>wall|edge|side|corner|base|floor)?s?(?: of (?:the|its|a) (?:grey )?box)?$"
)
_SENTENCE_WORDS = frozenset(
    "a an the that which who is are not on in at to by with and or only both two three".split()
) | frozenset(_RELATION.replace("|", " ").split())
_END = r"(?:top|base|bottom)"
_PLACE = re.compile(
    rf"^(?:the )?(?:(?P<number>second|third|fourth) )?{_DESCRIBED} "
    rf"(?P<where>at|from|in) the (?P<end>{_END}|middle)(?: of the (?:tower|box|stack))?$"
)
_NUMBERS = {"second": 1, "third": 2, "fourth": 3}
_TOWER = r"(?: (?:in|of) the (?:tower|box|stack))?"


@dataclass(frozen=True)
class Scene:
    """The things of one region: a box of items, or a tower of blocks."""

    things: Sequence[Thing]
    region: Box

    def answer(self, question: str) -> str | None:
        """ "yes", "no", a number or a colour; None where the question is not understood."""
        text = " ".join(question.lower().split()).rstrip("?").strip()
        for pattern, method in _QUESTIONS:
            found = pattern.match(text)
            if found:
                return method(self, *found.groups())
        return None

    def exists(self, phrase: str) -> str | None:
        matching = self._related(phrase)
        return None if matching is None else yes_or_no(bool(matching))

    def count(self, phrase: str) -> str | None:
        matching = self._related(phrase)
        return None if matching is None else str(len(matching))

    def height(self, noun: str) -> str:
        return str(len(self._described(noun)))

    def color(self, place: str) -> str | None:
        thing = self._placed(place)
        return attribute(thing, "color") if thing else None

    def is_like(self, place: str, other: str) -> str | None:
        if not (_PLACE.match(place) and _PLACE.match(other)):
            return None
        one, two = self._placed(place), self._placed(other)
        return yes_or_no(bool(one and two) and attribute(one, "color") == attribute(two, "color"))

    def is_a(self, place: str, value: str) -> str | None:
        if not _PLACE.match(place):
            return None
        thing = self._placed(place)
        return yes_or_no(thing is not None and holds(thing, value))

    def all_alike(self, noun: str) -> str:
        return yes_or_no(len({attribute(thing, "color") for thing in self._described(noun)}) <= 1)

    def lowest(self, end: str, value: str) -> str:
        pair = self._stacked("block")[:2] if end == "lowest" else self._stacked("block")[-2:]
        return yes_or_no(len(pair) == 2 and all(holds(thing, value) for thing in pair))

    def two_alike(self, noun: str, other: str) -> str:
        colors = [
            attribute(thing, "color")
            for thing in self._described(noun)
            if any(t is not thing and gap(t, thing) <= TOUCH for t in self._described(other))
        ]
        return yes_or_no(len(set(colors)) < len(colors))

    def consecutive(self, noun: str, relation: str, other: str) -> str:
        side, targets = _RELATIONS[relation], self._described(other)
        pairs = [(a, b) for a in self._described(noun) for b in self._described(noun) if _on(a, b)]
        return yes_or_no(any(side(a, t) and side(b, t) for a, b in pairs for t in targets))

    def _described(self, noun: str) -> list[Thing]:
        return [thing for thing in self.things if holds(thing, noun)]

    def _stacked(self, noun: str) -> list[Thing]:
        """From the floor upward."""
        return sorted(self._described(noun), key=center_y, reverse=True)

    def _placed(self, phrase: str) -> Thing | None:
        found = _PLACE.match(phrase)
        if found is None:
            return None
        stack = self._stacked(found["noun"])
        if found["end"] == "middle":
            return stack[len(stack) // 2] if len(stack) % 2 else None
        if found["end"] == "top":
            stack.reverse()
        number = _NUMBERS.get(found["number"] or "", 0)
        return stack[number] if number < len(stack) else None

    def _related(self, phrase: str) -> list[Thing] | None:
        """The things of which "black square that is touching the wall" is true, or None."""
        found = _RELATED.match(phrase)
        if found is None:
            return None
        test = self._relation(found["relation"], found["to"])
        if test is None:
            return None
        return [t for t in self._described(found["noun"]) if test(t) != bool(found["no"])]

    def _relation(self, relation: str, to: str) -> Callable[[Thing], bool] | None:
        near = NEAR if relation in ("nearly touching", "close to") else TOUCH
        wall = _WALL.match(to)
        if wall and (wall["side"] or wall["word"]):
            return lambda thing: self._at_wall(thing, wall["side"], wall["word"], near)
        holding = _RELATIONS.get(relation)
        if to.startswith("only ") and relation in ("touching", "attached to"):
            return lambda thing: self._only(thing, to.removeprefix("only "))
        if relation == "between":
            return lambda thing: self._between(thing, to)
        groups = [self._targets(part) for part in to.removeprefix("both ").split(" and ")]
        if holding is None or any(group is None for group in groups):
            return None
        return lambda thing: all(
            any(other is not thing and holding(thing, other) for other in group or ())
            for group in groups
        )

    def _targets(self, phrase: str) -> list[Thing] | None:
        phrase = re.sub(r"^(?:an?|the|another|any) ", "", phrase)
        return self._related(phrase) if _RELATED.match(phrase) else self._described(phrase)

    def _only(self, thing: Thing, noun: str) -> bool:
        beside = [t for t in self.things if t is not thing and gap(t, thing) <= TOUCH]
        return bool(beside) and all(holds(other, noun) for other in beside)

    def _between(self, thing: Thing, noun: str) -> bool:
        others = [t for t in self._described(noun.removeprefix("two ")) if t is not thing]
        over = any(_on(other, thing) for other in others)
        return over and any(_on(thing, other) for other in others)

    def _at_wall(self, thing: Thing, side: str | None, word: str | None, near: float) -> bool:
        x0, y0, x1, y1 = thing["box"]
        left, top, right, bottom = self.region
        at = {
            **{"left": x0 - left <= near, "right": right - x1 <= near},
            **{"top": y0 - top <= near, "bottom": bottom - y1 <= near},
        }
        if word in ("base", "floor"):
            return at["bottom"]
        if word == "corner":
            return (at["left"] or at["right"]) and (at["top"] or at["bottom"])
        return at[side] if side else any(at.values())


_QUESTIONS: tuple[tuple[re.Pattern[str], Callable[..., str | None]], ...] = tuple(
    (re.compile(f"^{pattern}$"), method)
    for pattern, method in (
        (r"is there (?:an? |any )?(.+)", Scene.exists),
        (rf"how many ([a-z ]+) are{_TOWER}", Scene.height),
        (rf"how many ([a-z ]+? are (?:not )?(?:{_RELATION}) .+)", Scene.count),
        (r"what color is (the .+)", Scene.color),
        (r"is (the .+) the same color as (the .+)", Scene.is_like),
        (rf"is (the .+?(?:{_END}|middle)(?: of the \w+)?) (.+)", Scene.is_a),
        (rf"are all the ([a-z ]+?){_TOWER} the same color", Scene.all_alike),
        (rf"are the two (lowest|highest) blocks{_TOWER} (?:both )?(.+)", Scene.lowest),
        (
            r"are there two ([a-z ]+) of the same color (?:attached to|touching) an? (.+)",
            Scene.two_alike,
        ),
        (r"are there two consecutive ([a-z ]+) (above|below) an? (.+)", Scene.consecutive),
    )
)


def is_relational(description: str) -> bool:
    """Whether a description is more than attributes and a name: "square touching the wall"."""
    return not _SENTENCE_WORDS.isdisjoint(description.split())


def _on(upper: Thing, lower: Thing) -> bool:
    """Directly on top: they touch, above one another."""
    a, b = upper["box"], lower["box"]
    beside = min(a[2], b[2]) - max(a[0], b[0]) <= 0
    return not beside and abs(b[1] - a[3]) <= TOUCH


_RELATIONS: dict[str, Callable[[Thing, Thing], bool]] = {
    **dict.fromkeys(("touching", "touches", "attached to"), lambda a, b: gap(a, b) <= TOUCH),
    **dict.fromkeys(("nearly touching", "close to"), lambda a, b: gap(a, b) <= NEAR),
    **dict.fromkeys(("directly on top of", "directly above", "on top of"), _on),
    **dict.fromkeys(("above", "over"), lambda a, b: center_y(a) < center_y(b)),
    **dict.fromkeys(("below", "under"), lambda a, b: center_y(a) > center_y(b)),
}


def center_x(thing: Thing) -> float:
    return (thing["box"][0] + thing["box"][2]) / 2


def center_y(thing: Thing) -> float:
    return (thing["box"][1] + thing["box"][3]) / 2


def gap(one: Thing, other: Thing) -> float:
    """The wider of the horizontal and the vertical gap; negative where the boxes overlap."""
    a, b = one["box"], other["box"]
    return max(max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3]))


def overlap(box: Sequence[float], region: Sequence[float]) -> float:
    """Intersection over union."""
    width = min(box[2], region[2]) - max(box[0], region[0])
    height = min(box[3], region[3]) - max(box[1], region[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, region)]
    return width * height / (sum(areas) - width * height)


def yes_or_no(truth: bool) -> str:
    return "yes" if truth else "no"
