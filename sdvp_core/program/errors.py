"""What is wrong with a program, and which names no program may use."""

import ast
from collections.abc import Callable

FORBIDDEN_NAMES = frozenset(
    "__builtins__ __import__ __loader__ __spec__ breakpoint builtins compile delattr eval exec "
    "globals input locals memoryview open setattr subprocess vars".split()
)
FORBIDDEN_ATTRIBUTES = frozenset(
    "gi_frame gi_code cr_frame cr_code f_back f_builtins f_code f_globals f_locals func_code "
    "func_globals tb_frame tb_next".split()
)
HARMLESS_DUNDERS = frozenset(("__init__", "__len__", "__name__"))
HARMLESS_IMPORTS = frozenset(
    "collections dataclasses functools itertools json math re string typing".split()
)
LONGEST_PROGRAM = 20_000  # characters; the longest recorded completion has about 2,000


class ProgramError(Exception):
    """A program that cannot run. ``status`` is "program_error", "forbidden" or "limit"."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def parse_python(source: str, mode: str = "exec") -> ast.AST:
    """Parse text that a model wrote; every way in which that can fail is a ``ProgramError``."""
    if len(source) > LONGEST_PROGRAM:
        raise ProgramError("limit", f"the program is longer than {LONGEST_PROGRAM} characters")
    try:
        return ast.parse(source, mode=mode)
    except SyntaxError as error:
        raise ProgramError("program_error", f"line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramError("program_error", f"it cannot be parsed: {error}") from error


def unparse(rewrite: Callable[[ast.AST], ast.AST], tree: ast.AST) -> str:
    """The text of a rewritten tree; what nests too deep or has too long a number is refused."""
    try:
        return ast.unparse(ast.fix_missing_locations(rewrite(tree)))
    except (RecursionError, ValueError) as error:
        raise ProgramError("program_error", f"it cannot be compiled: {error}") from error


def refuse_forbidden(tree: ast.AST) -> None:
    """Raise a ``ProgramError`` of status "forbidden" for what no program may name.

    The sandbox would stop these as well; refused here, they are told from honest mistakes.
    """
    for node in ast.walk(tree):
        name = _forbidden(node)
        if name is not None:
            raise ProgramError("forbidden", f"line {getattr(node, 'lineno', 1)}: uses {name}")


def _forbidden(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) if name in FORBIDDEN_NAMES or _is_dunder(name):
            return name
        case ast.Attribute(attr=name) if name in FORBIDDEN_ATTRIBUTES or _is_dunder(name):
            return f".{name}"
        case ast.Import(names=aliases):
            bad = [a.name for a in aliases if a.name.split(".")[0] not in HARMLESS_IMPORTS]
            return f"import {bad[0]}" if bad else None
        case ast.ImportFrom(module=module) if (module or "").split(".")[0] not in HARMLESS_IMPORTS:
            return f"import {module or '.'}"
    return None


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and name not in HARMLESS_DUNDERS
