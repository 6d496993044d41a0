"""Questions answered with yes or no: verify, exist, and the logical and comparing ones.

Every builder is told which answer is wanted, so that yes and no are equally frequent in each kind.
"""

from collections.abc import Sequence
from random import Random

from sdvp_core.base.ontology import SHAPES, attribute
from sdvp_core.base.wording import article
from sdvp_core.tasks.descriptions import Phrase, Thing, Vocabulary, describe, twisted
from sdvp_core.tasks.shapes.ask_words import VALUES
from sdvp_core.tasks.shapes.draft import Draft, chain, join, types
from sdvp_core.tasks.shapes.geometry import (
    OPPOSITE,
    RELATIONS,
    filters,
    is_related,
    refer,
    related,
)

WORDS = Vocabulary(SHAPES, dict(VALUES))


def verify(rng: Random, things: Sequence[Thing], wanted: bool) -> Draft | None:
    """ "Is the square red?" """
    kind = rng.choice(("color", "pattern"))
    one = refer(rng, things, rng.choice(things), (kind,))
    if one is None:
        return None
    value = _value(rng, one.thing, kind, wanted)
    noun = one.thing["name"]
    return Draft(
        f"Is the {one.words} {value}?",
        _word(wanted),
        f"{_word(wanted).capitalize()}, the {noun} is {attribute(one.thing, kind)}.",
        chain(one.operations, (f"verify {kind}", value)),
        types("verify", "attr", "verifyAttr" if wanted else "verifyAttrC"),
        {"global": None, "local": f"06-{noun}_{value}"},
    )


def verify_both(rng: Random, things: Sequence[Thing], wanted: bool) -> Draft | None:
    """ "Is the square red and striped?" """
    one = refer(rng, things, rng.choice(things), ("color", "pattern"))
    if one is None:
        return None
    truths = (True, True) if wanted else rng.choice(((True, False), (False, True)))
    color = _value(rng, one.thing, "color", truths[0])
    pattern = _value(rng, one.thing, "pattern", truths[1])
    operations = chain(one.operations, ("verify color", color), ("verify pattern", pattern))
    last = len(operations) - 1
    operations[last]["dependencies"] = [last - 2]
    operations.append({"operation": "and", "dependencies": [last - 1, last], "argument": ""})
    noun, true = one.thing["name"], " and ".join(one.thing["attributes"])
    return Draft(
        f"Is the {one.words} {color} and {pattern}?",
        _word(wanted),
        f"{_word(wanted).capitalize()}, the {noun} is {true}.",
        operations,
        types("logical", "attr", "verifyAttrs" if wanted else "verifyAttrsC"),
        {"global": None, "local": f"05-{color}_{pattern}"},
    )


def verify_rel(rng: Random, things: Sequence[Thing], wanted: bool) -> Draft | None:
    """ "Is the red square to the left of the ring?" """
    bare = rng.choice(things)  # the argument of the operation gives its name only
    if sum(other["name"] == bare["name"] for other in things) > 1:
        return None
    other = refer(rng, things, rng.choice([t for t in things if t is not bare]))
    relation = rng.choice(list(RELATIONS))
    if other is None:
        return None
    named_first = rng.random() < 0.4
    subject, anchor = (bare, other.thing) if named_first else (other.thing, bare)
    if not is_related(subject, relation if wanted else OPPOSITE[relation], anchor):
        return None
    words = (bare["name"], other.words) if named_first else (other.words, bare["name"])
    role = "s" if named_first else "o"
    argument = f"{bare['name']},{relation},{role} ({bare['object_id']})"
    true = relation if wanted else OPPOSITE[relation]
    return Draft(
        f"Is the {words[0]} {relation} the {words[1]}?",
        _word(wanted),
        f"{_word(wanted).capitalize()}, the {subject['name']} is {true} the {anchor['name']}.",
        chain(other.operations, ("verify rel", argument)),
        types("verify", "rel", "relVerify" if wanted else "relVerifyCr"),
        {"global": None, "local": f"13-{subject['name']}_{anchor['name']}"},
    )


def exist(rng: Random, things: Sequence[Thing], wanted: bool) -> Draft | None:
    """ "Is there a red square?" """
    phrase = _phrase(rng, things, wanted)
    if phrase is None:
        return None
    end = rng.choice(("", " in the picture", " in the image"))
    return Draft(
        f"Is there {article(phrase.text)}{end}?",
        _word(wanted),
        f"{_word(wanted).capitalize()}, there is {'a' if wanted else 'no'} {phrase.noun}.",
        chain(_existing(things, phrase)),
        types("verify", "obj", "exist" if wanted else "existC"),
        {"global": None, "local": f"03-{phrase.noun}"},
    )


def exist_two(rng: Random, things: Sequence[Thing], wanted: bool) -> Draft | None:
    """ "Are there both a square and a red ring?", "Is there a square or a red ring?" """
    word = rng.choice(("and", "or"))
    truths = [wanted, wanted]
    if (word == "and") != wanted:  # one of the two may be otherwise: "no" to and, "yes" to or
        truths[rng.randrange(2)] = rng.random() < 0.5
        truths[rng.randrange(2)] = wanted
    phrases = [_phrase(rng, things, truth) for truth in truths]
    if None in phrases or phrases[0] == phrases[1]:
        return None
    first, second = (article(phrase.text) for phrase in phrases)
    form = "Are there both {} and {}?" if word == "and" else "Is there {} or {}?"
    operations = [_existing(things, phrase) for phrase in phrases]
    return Draft(
        form.format(first, second),
        _word(wanted),
        f"{_word(wanted).capitalize()}.",
        join(*operations, (word, "")),
        types("logical", "obj", "existAnd" if word == "and" else "existOr"),
        {"global": None, "local": f"09exist{word.capitalize()}-{first}_{second}"},
    )


def exist_rel(rng: Random, things: Sequence[Thing], wanted: bool) -> Draft | None:
    """ "Is there a square to the left of the red ring?" """
    relation = rng.choice(list(RELATIONS))
    anchor = refer(rng, things, rng.choice(things))
    noun = Phrase(rng.choice([thing["name"] for thing in things] if wanted else SHAPES))
    if anchor is None or noun.holds(anchor.thing):
        return None
    found = related(things, relation, anchor.thing, noun)
    if found is None or bool(found) != wanted:
        return None
    identity = found[0]["object_id"] if found else "-"
    step = ("relate", f"{noun.noun},{relation},s ({identity})")
    return Draft(
        f"Is there {article(noun.noun)} {relation} the {anchor.words}?",
        _word(wanted),
        f"{_word(wanted).capitalize()}, there is {'a' if wanted else 'no'} {noun.noun} "
        f"{relation} the {anchor.thing['name']}.",
        chain(anchor.operations, step, ("exist", "?")),
        types("verify", "rel", "existRelS" if wanted else "existRelSC"),
        {"global": None, "local": f"13-{anchor.thing['name']}_{noun.noun}"},
    )


def compare(rng: Random, things: Sequence[Thing], wanted: bool) -> Draft | None:
    """ "Do the square and the ring have the same color?" """
    kind, word = rng.choice(("color", "pattern")), rng.choice(("same", "same", "different"))
    first, second = rng.sample(list(things), 2)
    if (attribute(first, kind) == attribute(second, kind)) != (wanted == (word == "same")):
        return None
    refs = [refer(rng, things, thing, (kind,), relational=0.2) for thing in (first, second)]
    if None in refs:
        return None
    one, two = refs
    what = f"the same {kind}" if word == "same" else f"a different {kind}"
    return Draft(
        f"Do the {one.words} and the {two.words} have {what}?",
        _word(wanted),
        f"{_word(wanted).capitalize()}, the {first['name']} is {attribute(first, kind)} and the "
        f"{second['name']} is {attribute(second, kind)}.",
        join(one.operations, two.operations, (f"{word} {kind}", "")),
        types("compare", "attr", "twoSame" if word == "same" else "twoDifferent"),
        {"global": None, "local": f"09{word[:4]}-{first['name']}_{second['name']}"},
    )


def _existing(things: Sequence[Thing], phrase: Phrase) -> list[tuple[str, str]]:
    # Like GQA: the id of a thing the select finds, "-" where it finds none.
    ids = [t["object_id"] for t in things if phrase.holds(t)]
    ids += [t["object_id"] for t in things if t["name"] == phrase.noun]
    first = ("select", f"{phrase.noun} ({ids[0] if ids else '-'})")
    return [first, *filters(phrase), ("exist", "?")]


def _phrase(rng: Random, things: Sequence[Thing], there: bool) -> Phrase | None:
    """A description of a thing that is there, or the same with one word changed that is not."""
    phrase = describe(rng, rng.choice(things))
    if phrase is None or phrase.noun not in SHAPES:
        return None
    if not there:
        phrase = twisted(rng, phrase, WORDS)
    if phrase is None or any(phrase.holds(thing) for thing in things) != there:
        return None
    return phrase


def _value(rng: Random, thing: Thing, kind: str, true: bool) -> str:
    value = attribute(thing, kind)
    return value if true else rng.choice([v for v in VALUES[kind] if v != value])


def _word(yes: bool) -> str:
    return "yes" if yes else "no"
