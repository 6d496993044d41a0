"""What the statements on pairs of scenes are built with."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from sdvp_core.base import wording
from sdvp_core.base.ontology import SHAPES, attribute
from sdvp_core.tasks.descriptions import Phrase, Thing, describe, twisted
from sdvp_core.tasks.shapes.ask_words import VALUES
from sdvp_core.tasks.shapes.ask_yesno import WORDS
from sdvp_core.tasks.shapes.geometry import refer
from sdvp_core.tasks.shapes.programs import viper

SIDES = ("left", "right")
_PATCHES = ["left_patch = ImagePatch(left)", "right_patch = ImagePatch(right)"]
Pair = tuple[Sequence[Thing], Sequence[Thing]]


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence, whether it is true of the pair it was made for, and its programs."""

    sentence: str
    truth: bool
    viper: str
    visprog: str


def function(*lines: str) -> str:
    """A ViperGPT function of two images whose body begins with their patches."""
    return viper([*_PATCHES, *lines], "left, right")


def asks(variable: str, phrase: Phrase, kind: str, value: str) -> str:
    """Python that asks whether a patch has a value."""
    # Patterns by verify_property (match), colours and shapes by simple_query (vqa): both are used.
    if kind == "pattern":
        return f'{variable}.verify_property("{phrase.noun}", "{value}")'
    return f'{variable}.simple_query("{wording.query(kind)}") == "{value}"'


def count(things: Sequence[Thing], phrase: Phrase) -> int:
    """How many things fit."""
    return sum(phrase.holds(thing) for thing in things)


def phrase_for(rng: Random, things: Sequence[Thing]) -> Phrase:
    """What describes one of the things, or (a quarter) the same with one word changed."""
    phrase = describe(rng, rng.choice(things))
    other = twisted(rng, phrase, WORDS) if rng.random() < 0.25 else None
    return other or phrase


def somewhere(rng: Random, pair: Pair) -> Phrase:
    """A phrase for one of the two images."""
    return phrase_for(rng, pair[rng.randrange(2)])


def only(rng: Random, things: Sequence[Thing], kind: str) -> tuple[Phrase, Thing] | None:
    """A thing of an image with a description that fits no other and does not tell the kind."""
    without = "name" if kind == "shape" else kind
    one = refer(rng, things, rng.choice(things), (without,), relational=0)
    if one is None or (without == "name" and not one.phrase.attributes):
        return None
    return one.phrase, one.thing


def value_of(rng: Random, thing: Thing, kind: str) -> str:
    """A value of the kind, the true one half of the time."""
    true = attribute(thing, kind)
    if rng.random() < 0.5:
        return true
    return rng.choice([v for v in VALUES.get(kind, SHAPES) if v != true])
