"""What a question of GQA asks, apart from any dialect: things, and what is asked of them."""

import re
from dataclasses import dataclass, replace

from sdvp_core.base import wording
from sdvp_core.base.ontology import KIND_OF, SHAPES

_ORDER = {kind: place for place, kind in enumerate(("size", "material", "color", "pattern"))}
# How a relation ends -> the side of the object on which its subject is.
_SIDES = {
    "to the left of": "left",
    "left of": "left",
    "to the right of": "right",
    "right of": "right",
    "above": "above",
    "over": "above",
    "below": "below",
    "under": "below",
    "underneath": "below",
    "beneath": "below",
    "in front of": "front",
    "behind": "behind",
}
_OPPOSITE = {"left": "right", "above": "below", "front": "behind"}
_OPPOSITE |= {far: near for near, far in _OPPOSITE.items()}


@dataclass(frozen=True, slots=True)
class Thing:
    """What is meant: "the red square on the left that is to the right of the ring".

    ``without`` holds attributes it must not have, ``places`` parts of the picture (left, top,
    middle, ...). A thing without a name is the whole picture.
    """

    name: str
    attributes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    relation: "Relation | None" = None

    @property
    def text(self) -> str:
        """What a detector is asked for: attributes in the order of English, then the name."""
        words = sorted(self.attributes, key=lambda v: _ORDER.get(KIND_OF.get(v, ""), 0))
        return " ".join((*words, self.name))

    @property
    def touches(self) -> "Relation | None":
        """Its relation, if that cannot be told from positions ("holding")."""
        return self.relation if self.relation and self.relation.side is None else None

    def having(self, attribute: str) -> "Thing":
        """The same thing with one attribute more and nothing it must not have."""
        return replace(self, attributes=(*self.attributes, attribute), without=())


WHOLE = Thing("")


@dataclass(frozen=True, slots=True)
class Relation:
    """``role`` s: the new thing is the subject ("the SQUARE left of ..."); o: the object."""

    name: str
    role: str
    of: Thing

    @property
    def side(self) -> str | None:
        """On which side of ``of`` the new thing is; None where positions do not tell."""
        for ending, side in _SIDES.items():
            if self.name == ending or re.search(rf"\w {ending}$", self.name):
                return side if self.role == "s" else _OPPOSITE[side]
        return None

    def question(self, thing: Thing) -> str:
        """A yes/no question whether a thing stands in this relation."""
        new = thing.text if _is_plural(thing.name) else wording.article(thing.text)
        old = wording.the(self.of.text) if self.of.name else "it"
        if self.role == "o":
            return f"{'Are' if _is_plural(self.of.name) else 'Is'} {old} {self.name} {new}?"
        return f"{'Are' if _is_plural(thing.name) else 'Is'} there {new} {self.name} {old}?"


@dataclass(frozen=True, slots=True)
class Exists:
    thing: Thing


@dataclass(frozen=True, slots=True)
class Verify:
    thing: Thing
    kind: str
    value: str

    @property
    def noun(self) -> bool:
        """Whether the value is what the thing is, not what it is like."""
        return self.kind == "name" or self.value in SHAPES

    @property
    def question(self) -> str:
        return wording.verify(self.value, noun=self.noun)


@dataclass(frozen=True, slots=True)
class Both:
    """``word`` is "and" or "or"."""

    word: str
    truths: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Same:
    """Whether two things, or all things of one description, agree in an attribute."""

    thing: Thing
    other: Thing | None
    kind: str
    negated: bool

    @property
    def question(self) -> str:
        return wording.query("name" if self.kind == "type" else self.kind)


@dataclass(frozen=True, slots=True)
class Query:
    thing: Thing
    kind: str

    def question(self, original: str) -> str:
        """The sub-question on the thing's crop: of "it", or the original one for rare kinds."""
        known = self.kind in wording.KINDS and self.thing.name
        return wording.query(self.kind) if known else original


@dataclass(frozen=True, slots=True)
class Choose:
    thing: Thing
    kind: str
    options: tuple[str, str]

    @property
    def noun(self) -> bool:
        return self.kind == "name" or all(option in SHAPES for option in self.options)

    @property
    def question(self) -> str:
        return wording.choose(*self.options, noun=self.noun)


@dataclass(frozen=True, slots=True)
class Either:
    """One answer if a thing exists, another if it does not."""

    test: Exists
    yes: str
    no: str


@dataclass(frozen=True, slots=True)
class Compare:
    """Which of two things is more so: ``how`` is a comparative, "larger" or "older"."""

    thing: Thing
    other: Thing
    how: str


@dataclass(frozen=True, slots=True)
class Common:
    """What two things have in common: the name of a kind of attribute."""

    thing: Thing
    other: Thing

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds compared in turn; the last is the answer where none before it agrees."""
        drawn = any(
            name in SHAPES or name == "shape" for name in (self.thing.name, self.other.name)
        )
        return ("color", "shape", "pattern") if drawn else ("color", "shape", "material")


Node = Exists | Verify | Both | Same | Query | Choose | Either | Compare | Common


def _is_plural(name: str) -> bool:
    return name.endswith("s") and not name.endswith("ss")
