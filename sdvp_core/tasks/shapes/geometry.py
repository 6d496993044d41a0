"""Where things of a scene stand to each other, and how to name one of them without doubt.

A relation is used in a question only where the centres leave no doubt: the thing meant is at least
YES px on the right side, every other candidate at least NO px on the wrong one. So whoever sees the
boxes rightly, within a few pixels, answers rightly.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from sdvp_core.base.ontology import KIND_OF, attribute
from sdvp_core.tasks.descriptions import Phrase, Thing, ordered

YES, NO = 8.0, 4.0  # px between centres, along the relation's axis
RELATIONS = {  # axis, direction (y grows downward)
    "to the left of": (0, -1),
    "to the right of": (0, 1),
    "above": (1, -1),
    "below": (1, 1),
}
OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}
NOUNS = ("object", "shape")  # what a thing is called whose name must not be told


def center(thing: Thing) -> tuple[float, float]:
    """The middle of a thing's box, in pixels."""
    x0, y0, x1, y1 = thing["box"]
    return (x0 + x1) / 2, (y0 + y1) / 2


def is_related(thing: Thing, relation: str, anchor: Thing) -> bool | None:
    """Whether a thing stands so to the anchor; None where the eye might doubt it."""
    axis, direction = RELATIONS[relation]
    ahead = direction * (center(thing)[axis] - center(anchor)[axis])
    return True if ahead >= YES else False if ahead <= -NO else None


def related(
    things: Sequence[Thing], relation: str, anchor: Thing, phrase: Phrase
) -> list[Thing] | None:
    """The things that fit the phrase and stand so to the anchor; None where one is in doubt."""
    found = []
    for thing in things:
        if thing is anchor or not phrase.holds(thing):
            continue
        verdict = is_related(thing, relation, anchor)
        if verdict is None:
            return None
        if verdict:
            found.append(thing)
    return found


@dataclass(frozen=True, slots=True)
class Referent:
    """A thing, words that mean it alone, and the GQA operations that select it.

    ``operations`` are (operation, argument) pairs, each of which depends on the one before.
    """

    thing: Thing
    words: str
    operations: tuple[tuple[str, str], ...]
    phrase: Phrase  # what is said of the thing itself
    relation: str | None = None
    anchor: "Referent | None" = None


def refer(
    rng: Random,
    things: Sequence[Thing],
    thing: Thing,
    without: Collection[str] = (),
    relational: float = 0.4,
) -> Referent | None:
    """Words that mean one thing and do not tell its ``without`` kinds; None where there are none.

    ``relational`` is the share that is meant by where it stands, if that is possible.
    """
    if rng.random() < relational:
        for _ in range(3):
            found = _by_relation(rng, things, thing, without)
            if found is not None:
                return found
    return _by_attributes(rng, things, thing, without)


def _by_attributes(
    rng: Random, things: Sequence[Thing], thing: Thing, without: Collection[str]
) -> Referent | None:
    phrases = [
        phrase
        for phrase in _phrases(rng, thing, without)
        if sum(phrase.holds(other) for other in things) == 1
    ]
    if not phrases:
        return None
    # Mostly the shortest that will do, as people speak.
    shortest = min(len(phrase.attributes) for phrase in phrases)
    if rng.random() < 0.75:
        phrases = [phrase for phrase in phrases if len(phrase.attributes) == shortest]
    phrase = rng.choice(phrases)
    first = ("select", f"{phrase.noun} ({thing['object_id']})")
    return Referent(thing, phrase.text, (first, *filters(phrase)), phrase)


def _by_relation(
    rng: Random, things: Sequence[Thing], thing: Thing, without: Collection[str]
) -> Referent | None:
    if "name" in without:
        return None  # "the object to the left of ...": the anchor is an object as well
    relation = rng.choice(list(RELATIONS))
    anchor = rng.choice([other for other in things if other is not thing])
    phrase = _phrases(rng, thing, without)[0]
    noun = Phrase(phrase.noun)
    among = related(things, relation, anchor, noun)
    if noun.holds(anchor) or among is None:
        return None
    if thing not in among or sum(phrase.holds(other) for other in among) != 1:
        return None
    base = _by_attributes(rng, things, anchor, ())
    if base is None:
        return None
    words = f"{phrase.text} {rng.choice(('', 'that is '))}{relation} the {base.words}"
    step = ("relate", f"{phrase.noun},{relation},s ({thing['object_id']})")
    operations = (*base.operations, step, *filters(phrase))
    return Referent(thing, words, operations, phrase, relation, base)


def filters(phrase: Phrase) -> list[tuple[str, str]]:
    """The filter operations of a phrase's attributes."""
    return [(f"filter {KIND_OF[value]}", value) for value in phrase.attributes]


def _phrases(rng: Random, thing: Thing, without: Collection[str]) -> list[Phrase]:
    """All true phrases of a thing that do not tell these kinds, the barest first."""
    noun = rng.choice(NOUNS) if "name" in without else thing["name"]
    kinds = [kind for kind in ("color", "pattern") if kind not in without]
    values = [value for kind in kinds if (value := attribute(thing, kind))]
    sets = [some for size in range(len(values) + 1) for some in combinations(values, size)]
    return [Phrase(noun, ordered(some)) for some in sets]
