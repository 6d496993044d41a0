"""Descriptions of annotated objects ("red striped square"): made of them, and checked on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sdvp_core.base.ontology import KIND_OF, SHAPES, attribute

Thing = dict[str, Any]  # an annotation object: base/records.OBJECT
_ORDER = {kind: place for place, kind in enumerate(("size", "material", "color", "pattern"))}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun (a name or a category) with attributes before it. Checked without parsing text."""

    noun: str
    attributes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """ "red striped square": the form LOC, find() and the sub-questions are given."""
        return " ".join((*self.attributes, self.noun))

    def holds(self, thing: Thing) -> bool:
        """Whether every word is true of the thing; agrees with ontology.holds on ``text``."""
        if self.noun != thing["name"] and self.noun not in thing["categories"]:
            return False
        return all(value in thing["attributes"] for value in self.attributes)


@dataclass(frozen=True)
class Vocabulary:
    """The words that occur in some annotations: what false descriptions are made of.

    ``values`` holds, for each kind of attribute, what occurs of it; ``names`` the names.
    """

    names: tuple[str, ...]
    values: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, things: Iterable[Thing]) -> "Vocabulary":
        """Collect the words; kinds with one value only are left out: nothing to ask about."""
        names: dict[str, None] = {}
        values: dict[str, dict[str, None]] = {}
        for thing in things:
            names[thing["name"]] = None
            for value in thing["attributes"]:
                if value in KIND_OF:
                    values.setdefault(KIND_OF[value], {})[value] = None
        several = {k: tuple(sorted(v)) for k, v in sorted(values.items()) if len(v) > 1}
        return cls(tuple(sorted(names)), several)

    def kinds(self, thing: Thing) -> list[str]:
        """What can be asked of a thing: the kinds it has a value of, and shape or name."""
        own = [kind for kind in self.values if attribute(thing, kind) is not None]
        return own + (["shape", "name"] if thing["name"] in SHAPES else ["name"])

    def other(self, rng: Random, kind: str, value: str) -> str | None:
        """A value of that kind that is not this one; None where no other occurs."""
        pool = self.values.get(kind, ())
        if kind in ("shape", "name"):
            pool = tuple(n for n in self.names if kind == "name" or n in SHAPES)
        pool = tuple(v for v in pool if v != value)
        return rng.choice(pool) if pool else None


def describe(rng: Random, thing: Thing, without: str | None = None) -> Phrase | None:
    """A true description of a thing that does not tell its ``without`` kind; None if none can be.

    About half are a bare noun, a third have one attribute, the rest two.
    """
    nouns = [] if without in ("shape", "name") else [thing["name"]]
    if not nouns or rng.random() < 0.2:
        nouns = list(thing["categories"]) or nouns
    if not nouns:
        return None
    known = [v for v in thing["attributes"] if v in KIND_OF and KIND_OF[v] != without]
    draw = rng.random()
    some = rng.sample(known, min(len(known), 0 if draw < 0.45 else 1 if draw < 0.8 else 2))
    return Phrase(rng.choice(nouns), ordered(some))


def ordered(attributes: Sequence[str]) -> tuple[str, ...]:
    """Attributes in the order English puts them: size, material, colour, pattern."""
    return tuple(sorted(attributes, key=lambda v: _ORDER.get(KIND_OF.get(v, ""), 0)))


def twisted(rng: Random, phrase: Phrase, vocabulary: Vocabulary) -> Phrase | None:
    """The phrase with one word changed to another of its kind; None where nothing can change."""
    places = list(range(len(phrase.attributes)))
    if phrase.noun in vocabulary.names:
        places.append(-1)
    if not places:
        kind = rng.choice(list(vocabulary.values)) if vocabulary.values else None
        return None if kind is None else Phrase(phrase.noun, (rng.choice(vocabulary.values[kind]),))
    place = rng.choice(places)
    if place == -1:
        noun = vocabulary.other(rng, "name", phrase.noun)
        return None if noun is None else Phrase(noun, phrase.attributes)
    old = phrase.attributes[place]
    new = vocabulary.other(rng, KIND_OF[old], old)
    if new is None:
        return None
    return Phrase(phrase.noun, tuple(new if v == old else v for v in phrase.attributes))


def unique(rng: Random, thing: Thing, things: Sequence[Thing], without: str) -> Phrase | None:
    """A description that no other of the things fits; None where four tries find none."""
    for _ in range(4):
        phrase = describe(rng, thing, without)
        if phrase and [other for other in things if phrase.holds(other)] == [thing]:
            return phrase
    return None
