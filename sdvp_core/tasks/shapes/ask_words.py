"""Questions answered with a word: query, choose and common."""

from collections.abc import Sequence
from random import Random

from sdvp_core.base.ontology import SHAPES, attribute
from sdvp_core.base.wording import article
from sdvp_core.tasks.descriptions import Phrase, Thing
from sdvp_core.tasks.shapes.draft import Draft, chain, join, types
from sdvp_core.tasks.shapes.geometry import (
    NOUNS,
    OPPOSITE,
    RELATIONS,
    is_related,
    refer,
    related,
)
from sdvp_core.tasks.shapes.world import COLORS, PATTERNS

VALUES = {"color": COLORS, "pattern": PATTERNS}
_QUERY = {
    "color": ("What color is the {}?", "What is the color of the {}?", "Which color is the {}?"),
    "pattern": ("What pattern does the {} have?", "What is the pattern of the {}?"),
}


def query(rng: Random, things: Sequence[Thing]) -> Draft | None:
    """ "What color is the square to the left of the hollow ring?" """
    kind = rng.choice(("color", "pattern"))
    one = refer(rng, things, rng.choice(things), (kind,))
    if one is None:
        return None
    value = attribute(one.thing, kind)
    return Draft(
        rng.choice(_QUERY[kind]).format(one.words),
        value,
        f"The {one.thing['name']} is {value}.",
        chain(one.operations, ("query", kind)),
        types("query", "attr", "directOf"),
        {"global": kind, "local": f"10q-{one.thing['name']}_{kind}"},
    )


def name(rng: Random, things: Sequence[Thing]) -> Draft | None:
    """ "What is the red striped object?" """
    one = refer(rng, things, rng.choice(things), ("name",))
    if one is None or not one.phrase.attributes:
        return None
    forms = ("What is the {}?", "What is the {} called?", "What kind of shape is the {}?")
    return Draft(
        rng.choice(forms).format(one.words),
        one.thing["name"],
        f"The {one.phrase.noun} is {article(one.thing['name'])}.",
        chain(one.operations, ("query", "name")),
        types("query", "cat", "categoryThat"),
        {"global": "shape", "local": f"12q-{one.phrase.noun}_{one.phrase.attributes[0]}"},
    )


def name_related(rng: Random, things: Sequence[Thing]) -> Draft | None:
    """ "What is to the left of the square?" """
    relation = rng.choice(list(RELATIONS))
    anchor = refer(rng, things, rng.choice(things), relational=0.15)
    if anchor is None:
        return None
    found = related(things, relation, anchor.thing, Phrase("object"))
    if not found or len(found) != 1:
        return None
    noun = rng.choice(("_", *NOUNS))
    form = "What is {} the {}?" if noun == "_" else f"What {noun} is {{}} the {{}}?"
    answer = found[0]["name"]
    step = ("relate", f"{noun},{relation},s ({found[0]['object_id']})")
    return Draft(
        form.format(relation, anchor.words),
        answer,
        f"{article(answer).capitalize()} is {relation} the {anchor.thing['name']}.",
        chain(anchor.operations, step, ("query", "name")),
        types("query", "rel", "relS" if noun == "_" else "categoryRelS"),
        {"global": "shape", "local": f"14-{anchor.thing['name']}_{relation},s"},
    )


def choose(rng: Random, things: Sequence[Thing]) -> Draft | None:
    """ "Is the square red or blue?" """
    kind = rng.choice(("color", "pattern"))
    one = refer(rng, things, rng.choice(things), (kind,))
    if one is None:
        return None
    value = attribute(one.thing, kind)
    pair = _pair(rng, value, VALUES[kind])
    return Draft(
        f"Is the {one.words} {pair[0]} or {pair[1]}?",
        value,
        f"The {one.thing['name']} is {value}.",
        chain(one.operations, (f"choose {kind}", "|".join(pair))),
        types("choose", "attr", "chooseAttr"),
        {"global": kind, "local": f"10c-{one.thing['name']}_{kind}"},
    )


def choose_name(rng: Random, things: Sequence[Thing]) -> Draft | None:
    """ "Is the red object a square or a circle?" """
    one = refer(rng, things, rng.choice(things), ("name",))
    if one is None or not one.phrase.attributes:
        return None
    pair = _pair(rng, one.thing["name"], SHAPES)
    return Draft(
        f"Is the {one.words} {article(pair[0])} or {article(pair[1])}?",
        one.thing["name"],
        f"The {one.phrase.noun} is {article(one.thing['name'])}.",
        chain(one.operations, ("choose name", "|".join(pair))),
        types("choose", "cat", "categoryThatChoose"),
        {"global": "shape", "local": f"12c-{one.phrase.noun}_{one.phrase.attributes[0]}"},
    )


def choose_rel(rng: Random, things: Sequence[Thing]) -> Draft | None:
    """ "Is the square to the left or to the right of the ring?" """
    thing = rng.choice(things)
    if sum(other["name"] == thing["name"] for other in things) > 1:
        return None
    anchor = refer(rng, things, rng.choice([t for t in things if t is not thing]))
    relation = rng.choice(("to the left of", "above"))
    if anchor is None or (verdict := _clearly(thing, relation, anchor.thing)) is None:
        return None
    pair = (relation, OPPOSITE[relation])
    true = pair[0] if verdict else pair[1]
    told = pair if rng.random() < 0.5 else pair[::-1]
    first = told[0].removesuffix(" of")
    argument = f"{thing['name']},{pair[0]}|{pair[1]},s ({thing['object_id']})"
    return Draft(
        f"Is the {thing['name']} {first} or {told[1]} the {anchor.words}?",
        true.removeprefix("to the ").removesuffix(" of"),
        f"The {thing['name']} is {true} the {anchor.thing['name']}.",
        chain(anchor.operations, ("choose rel", argument)),
        types("choose", "rel", "relChooser"),
        {"global": None, "local": f"13-{anchor.thing['name']}_{thing['name']}"},
    )


def common(rng: Random, things: Sequence[Thing]) -> Draft | None:
    """ "What do the square and the ring have in common?" """
    first, second = rng.sample(list(things), 2)
    shared = [kind for kind in VALUES if attribute(first, kind) == attribute(second, kind)]
    names = [thing["name"] for thing in things]
    if len(shared) != 1 or names.count(first["name"]) + names.count(second["name"]) != 2:
        return None
    refs = [refer(rng, things, t, VALUES, relational=0) for t in (first, second)]
    if None in refs:
        return None
    one, two = refs
    return Draft(
        f"What do the {one.words} and the {two.words} have in common?",
        shared[0],
        f"The {first['name']} and the {second['name']} have the same {shared[0]}.",
        join(one.operations, two.operations, ("common", "")),
        types("compare", "attr", "twoCommon"),
        {"global": None, "local": f"09common-{first['name']}_{second['name']}"},
    )


def _clearly(thing: Thing, relation: str, anchor: Thing) -> bool | None:
    """As is_related, with the wide margin either way: both answers are of one difficulty."""
    if is_related(thing, relation, anchor):
        return True
    return False if is_related(thing, OPPOSITE[relation], anchor) else None


def _pair(rng: Random, value: str, values: Sequence[str]) -> tuple[str, str]:
    other = rng.choice([v for v in values if v != value])
    return (value, other) if rng.random() < 0.5 else (other, value)
