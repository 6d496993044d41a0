"""GQA's functional programs ("semantic") compiled to VisProg and ViperGPT programs.

A functional program is read into one small tree (semantic_tree.py); semantic_visprog.py and
semantic_viper.py print the tree in their dialect. GQA has about 127 operations, all of a few
families: the first word of an operation's name says which ("filter color" -> filter), the rest
is a kind of attribute.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sdvp_core.program import semantic_viper, semantic_visprog
from sdvp_core.program.errors import ProgramError
from sdvp_core.program.semantic_tree import (
    WHOLE,
    Both,
    Choose,
    Common,
    Compare,
    Either,
    Exists,
    Node,
    Query,
    Relation,
    Same,
    Thing,
    Verify,
)

_ID = re.compile(r"\s*\([^()]*\)\s*$")  # "wall (16)", "glasses (-)"
_NOT = re.compile(r"^not\s*\((.*)\)$")
_POSITIONS = ("hposition", "vposition")
# What words of a question stand for, where GQA selects by pronoun.
_PRONOUNS = {"he": "man", "him": "man", "she": "woman", "her": "woman", "they": "person"}
_IMAGE_WORDS = frozenset(("scene", "image", "picture", "photo", "this", "that", "it", "these", ""))
_SCENE_KINDS = frozenset(("place", "weather", "location", "room"))
_PRINTERS = {"visprog": semantic_visprog.program, "viper": semantic_viper.program}


def compile(semantic: Sequence[dict[str, Any]], question: str, dialect: str) -> str:
    """The text of a program that answers ``question``, in the dialect `visprog` or `viper`.

    ``semantic`` is GQA's list of ``{"operation", "argument", "dependencies"}``. Raises
    :class:`ProgramError` where the list is empty or malformed, or an
    operation is unknown.
    """
    if dialect not in _PRINTERS:
        raise ValueError(f"unknown dialect {dialect!r}")
    return _PRINTERS[dialect](read(semantic), " ".join(question.split()))


def read(semantic: Sequence[dict[str, Any]]) -> Node:
    """The tree of a functional program: what its last operation asks. Raises ProgramError."""
    values: list[Thing | Node] = []
    for number, step in enumerate(semantic):
        try:
            operation, argument = step["operation"].strip(), step["argument"].strip()
            dependencies = [values[index] for index in step["dependencies"] if index >= 0]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise _invalid(f"operation {number} is malformed ({error!r})") from error
        values.append(_value(operation, argument, dependencies))
    if not values or isinstance(values[-1], Thing):
        raise _invalid("it asks nothing: its last operation answers no question")
    return values[-1]


def _value(operation: str, argument: str, inputs: list[Any]) -> Thing | Node:
    family, _, kind = operation.partition(" ")
    if family not in _FAMILIES:
        raise _invalid(f"there is no operation {operation!r}")
    reader, fewest, most = _FAMILIES[family]
    fits = all(isinstance(value, Thing) == (family not in ("and", "or")) for value in inputs)
    if not fits or not fewest <= len(inputs) <= most:
        raise _invalid(f"{operation!r} does not follow from the operations it depends on")
    return reader(kind, argument, *inputs)


def _select(kind: str, argument: str) -> Thing:
    name = _ID.sub("", argument)
    return WHOLE if name in _IMAGE_WORDS else Thing(_PRONOUNS.get(name, name))


def _filter(kind: str, argument: str, thing: Thing) -> Thing:
    if kind in _POSITIONS:
        return replace(thing, places=(*thing.places, argument))
    negated = _NOT.match(argument)
    if negated:
        return replace(thing, without=(*thing.without, negated[1].strip()))
    return replace(thing, attributes=(*thing.attributes, argument))


def _relate(kind: str, argument: str, thing: Thing) -> Thing:
    name, relation, role = _related(argument)
    return Thing(name, relation=Relation(relation, role, thing))


def _related(argument: str) -> tuple[str, str, str]:
    """ "furniture,in front of,s (17)" -> ("furniture", "in front of", "s")."""
    parts = [part.strip() for part in _ID.sub("", argument).split(",")]
    if len(parts) != 3 or parts[2] not in ("s", "o"):
        raise _invalid(f"{argument!r} is no relation: it should be NAME,RELATION,s or ...,o")
    return ("object" if parts[0] in ("_", "") else parts[0]), parts[1], parts[2]


def _query(kind: str, argument: str, thing: Thing) -> Node:
    if argument == "hposition":
        return Either(_at(thing, "left"), "left", "right")
    if argument == "vposition":
        return Either(_at(thing, "top"), "top", "bottom")
    if argument == "name" and thing.name == "shape":
        return Query(thing, "shape")  # the name of a shape is its shape
    return Query(WHOLE if argument in _SCENE_KINDS else thing, argument)


def _verify(kind: str, argument: str, thing: Thing) -> Node:
    if kind == "rel":
        return Exists(_relate(kind, argument, thing))
    return _at(thing, argument) if kind in _POSITIONS else Verify(thing, kind, argument)


def _choose(kind: str, argument: str, thing: Thing, other: Thing | None = None) -> Node:
    if other is not None:
        return Compare(thing, other, kind or argument)
    if kind == "rel":
        return _choose_relation(argument, thing)
    first, _, second = (part.strip() for part in argument.partition("|"))
    if not second:
        raise _invalid(f"{argument!r} offers no choice: it should be ONE|OTHER")
    if kind in _POSITIONS:
        if first in ("middle", "center"):
            return Either(_at(thing, second), second, first)
        return Either(_at(thing, first), first, second)
    return Choose(thing, kind, (first, second))


def _choose_relation(argument: str, thing: Thing) -> Node:
    name, relations, role = _related(argument)
    first, _, second = (part.strip() for part in relations.partition("|"))
    if not second:
        raise _invalid(f"{argument!r} offers no choice: it should be NAME,ONE|OTHER,s")
    found = Exists(Thing(name, relation=Relation(first, role, thing)))
    return Either(found, _direction(first), _direction(second))


def _direction(relation: str) -> str:
    """GQA answers "left" where the choice is "to the left of"."""
    return re.sub(r"^to the (left|right) of$", r"\1", relation)


def _at(thing: Thing, place: str) -> Exists:
    return Exists(replace(thing, places=(*thing.places, place)))


def _same(negated: bool) -> Callable[..., Node]:
    def reader(kind: str, argument: str, thing: Thing, other: Thing | None = None) -> Node:
        return Same(thing, other, kind or argument or "name", negated)

    return reader


def _both(word: str) -> Callable[..., Node]:
    def reader(kind: str, argument: str, *truths: Node) -> Node:
        return Both(word, truths)

    return reader


def _exist(kind: str, argument: str, thing: Thing) -> Node:
    return Exists(thing)


def _common(kind: str, argument: str, thing: Thing, other: Thing) -> Node:
    return Common(thing, other)


# family of operations -> how it is read, and of how many earlier ones at least and at most
_FAMILIES: dict[str, tuple[Callable[..., Any], int, int]] = {
    "select": (_select, 0, 0),
    "filter": (_filter, 1, 1),
    "relate": (_relate, 1, 1),
    "query": (_query, 1, 1),
    "verify": (_verify, 1, 1),
    "choose": (_choose, 1, 2),
    "exist": (_exist, 1, 1),
    "same": (_same(False), 1, 2),
    "different": (_same(True), 1, 2),
    "common": (_common, 2, 2),
    "and": (_both("and"), 2, 9),
    "or": (_both("or"), 2, 9),
}


def _invalid(problem: str) -> ProgramError:
    return ProgramError(
        "program_error", f"the question's functional program is invalid: {problem}."
    )
