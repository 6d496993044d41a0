"""Which things a program looks for in the same place: they can be looked for together.

A detector encodes a region once however many names are asked of it, but a program asks them one
after the other. Read from the text alone; a wrong guess costs an answer that nobody needs.
"""

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache

from sdvp_core.program import viper, visprog
from sdvp_core.program.errors import ProgramError

MOST = 8  # names asked ahead with one


@lru_cache(maxsize=4096)
def companions(dialect: str, program: str) -> dict[str, tuple[str, ...]]:
    """Object name -> the other names asked of an image variable that it is asked of."""
    try:
        pairs = list(_visprog(program) if dialect == "visprog" else _viper(program))
    except ProgramError:
        return {}
    return _together(pairs)


def _together(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    names_of: dict[str, dict[str, None]] = {}
    for variable, name in pairs:
        names_of.setdefault(variable, {})[name] = None
    others: dict[str, dict[str, None]] = {}
    for names in names_of.values():
        for name in names:
            others.setdefault(name, {}).update(names)
    return {name: tuple(n for n in found if n != name)[:MOST] for name, found in others.items()}


def _visprog(program: str) -> Iterator[tuple[str, str]]:
    for line in visprog.parse(program):
        given = dict(line.arguments)
        image, name = given.get("image"), given.get("object")
        if line.operation == "LOC" and isinstance(image, visprog.Variable):
            yield image.name, str(name)


def _viper(program: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(viper.parse(program)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=variable), attr="find" | "exists"),
                args=[ast.Constant(value=str() as name)],
            ):
                yield variable, name
