"""Statements that need the looks or the place of a thing that has to be found first."""

from random import Random

from sdvp_core.base import wording
from sdvp_core.base.ontology import attribute
from sdvp_core.tasks.descriptions import Phrase
from sdvp_core.tasks.shapes.geometry import OPPOSITE, RELATIONS, is_related, refer
from sdvp_core.tasks.shapes.programs import COMPARISONS, CROPS, Visprog, first, verdict
from sdvp_core.tasks.shapes.statement_parts import (
    SIDES,
    Pair,
    Statement,
    asks,
    function,
    only,
    value_of,
)


def has_value(rng: Random, pair: Pair) -> Statement | None:
    """ "The red square in the left image is striped." """
    i, kind = rng.randrange(2), rng.choice(("color", "pattern", "pattern", "shape", "shape"))
    one = only(rng, pair[i], kind)
    if one is None:
        return None
    phrase, thing = one
    value = value_of(rng, thing, kind)
    side = SIDES[i]
    steps = Visprog()
    end = steps.asked(side.upper(), phrase.text, wording.query(kind))
    told = wording.article(value) if kind == "shape" else value
    return Statement(
        f"The {phrase.text} in the {side} image is {told}.",
        attribute(thing, kind) == value,
        function(
            *first("target", f"{side}_patch", phrase.text),
            verdict(asks("target", phrase, kind, value)),
        ),
        steps.result(steps.evaluate(f"{{{end}}} == {value!r}")),
    )


def both_have(rng: Random, pair: Pair) -> Statement | None:
    """ "The square in the left image and the ring in the right image are both striped." """
    kind = rng.choice(("color", "pattern"))
    ones = [only(rng, things, kind) for things in pair]
    if None in ones:
        return None
    value = value_of(rng, ones[rng.randrange(2)][1], kind)
    steps = Visprog()
    ends = [
        steps.asked(side.upper(), phrase.text, wording.query(kind))
        for side, (phrase, _) in zip(SIDES, ones, strict=True)
    ]
    (a, first_thing), (b, second_thing) = ones
    return Statement(
        f"The {a.text} in the left image and the {b.text} in the right image are both {value}.",
        attribute(first_thing, kind) == value == attribute(second_thing, kind),
        function(
            *first("one", "left_patch", a.text),
            *first("two", "right_patch", b.text),
            verdict(f"{asks('one', a, kind, value)} and {asks('two', b, kind, value)}"),
        ),
        steps.result(steps.evaluate(" and ".join(f"{{{end}}} == {value!r}" for end in ends))),
    )


def same(rng: Random, pair: Pair) -> Statement | None:
    """ "The square in the left image and the ring in the right image have the same color." """
    kind = rng.choice(("color", "pattern", "shape"))
    ones = [only(rng, things, kind) for things in pair]
    if None in ones:
        return None
    (a, first_thing), (b, second_thing) = ones
    same = rng.random() < 0.6
    question = wording.query(kind)
    steps = Visprog()
    left, right = (
        steps.asked(side.upper(), phrase.text, question)
        for side, (phrase, _) in zip(SIDES, ones, strict=True)
    )
    sign = "==" if same else "!="
    return Statement(
        f"The {a.text} in the left image and the {b.text} in the right image have "
        f"{'the same' if same else 'different'} {kind if same else wording.plural(kind)}.",
        (attribute(first_thing, kind) == attribute(second_thing, kind)) == same,
        function(
            *first("one", "left_patch", a.text),
            *first("two", "right_patch", b.text),
            f'first = one.simple_query("{question}")',
            f'second = two.simple_query("{question}")',
            verdict(f"first {sign} second"),
        ),
        steps.result(steps.evaluate(f"{{{left}}} {sign} {{{right}}}")),
    )


def all_are(rng: Random, pair: Pair) -> Statement | None:
    """ "All squares in the left image are red." """
    i = rng.randrange(2)
    phrase = Phrase(rng.choice(pair[i])["name"])
    fit = [thing for thing in pair[i] if phrase.holds(thing)]
    if len(fit) < 2:
        return None
    kind = rng.choice(("color", "pattern"))
    value = attribute(rng.choice(fit), kind)
    side, narrow = SIDES[i], Phrase(phrase.noun, (value,))
    steps = Visprog()
    names = [steps.count(steps.loc(side.upper(), p.text)) for p in (phrase, narrow)]
    return Statement(
        f"All {wording.plural(phrase.text)} in the {side} image are {value}.",
        all(attribute(thing, kind) == value for thing in fit),
        function(
            f'patches = {side}_patch.find("{phrase.text}")',
            verdict(f"all([{asks('p', phrase, kind, value)} for p in patches])"),
        ),
        steps.result(steps.evaluate(f"{{{names[0]}}} == {{{names[1]}}}")),
    )


def stands(rng: Random, pair: Pair) -> Statement | None:
    """ "In the left image, the square is above the ring." """
    i = rng.randrange(2)
    one, two = (refer(rng, pair[i], thing, relational=0) for thing in rng.sample(list(pair[i]), 2))
    relation, side = rng.choice(list(RELATIONS)), SIDES[i]
    if one is None or two is None:
        return None
    truth = is_related(one.thing, relation, two.thing)
    if not truth and not is_related(one.thing, OPPOSITE[relation], two.thing):
        return None
    steps = Visprog()
    part = steps.crop(side.upper(), steps.loc(side.upper(), two.words), CROPS[relation])
    end = steps.evaluate(f"{{{steps.count(steps.loc(part, one.words))}}} > 0")
    center, sign = COMPARISONS[relation]
    return Statement(
        f"In the {side} image, the {one.words} is {relation} the {two.words}.",
        bool(truth),
        function(
            *first("one", f"{side}_patch", one.words),
            *first("two", f"{side}_patch", two.words),
            verdict(f"one.{center} {sign} two.{center}"),
        ),
        steps.result(end),
    )
