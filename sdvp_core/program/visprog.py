"""VisProg's line DSL: parse, lint, and compile to the executable Python form.

One step a line, ``NAME=OP(keyword=NAME|literal)`` (Gupta and Kembhavi, "Visual Programming", CVPR
2023). ``EVAL(expr="{A} + {B} == 1")`` becomes an expression over values: no value is ever pasted
into program text. The functions that the executable form calls are defined in
``interpreter/prelude.py``.
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sdvp_core.program.errors import ProgramError, parse_python, refuse_forbidden, unparse

_DIRECTIONS = "LEFTOF RIGHTOF ABOVE BELOW FRONTOF INFRONT INFRONTOF BEHIND AHEAD".split()
CROPS = ("CROP", *(f"CROP_{direction}" for direction in _DIRECTIONS))
# Keyword -> what it takes. "text" is a string literal, "variable" the name of an earlier output.
OPERATIONS: dict[str, dict[str, str]] = {
    "LOC": {"image": "variable", "object": "text"},
    "COUNT": {"box": "variable"},
    "VQA": {"image": "variable", "question": "text"},
    "EVAL": {"expr": "text"},
    "RESULT": {"var": "variable"},
} | {name: {"image": "variable", "box": "variable"} for name in CROPS}
INPUTS = ("IMAGE", "LEFT", "MIDDLE", "RIGHT")

_FUNCTIONS = frozenset("abs all any bool float int len max min round set sorted str sum".split())
_METHODS = frozenset(
    "count endswith index isdecimal isdigit lower replace split startswith strip upper".split()
)
_EXPRESSION_NODES = (
    *(ast.Expression, ast.Load, ast.Constant, ast.IfExp, ast.Compare, ast.cmpop),
    *(ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.BinOp, ast.operator),
    *(ast.Tuple, ast.List, ast.Subscript, ast.Slice, ast.JoinedStr, ast.FormattedValue),
)


@dataclass(frozen=True, slots=True)
class Variable:
    """The name of an earlier step's output, or of an input."""

    name: str


@dataclass(frozen=True, slots=True)
class Line:
    """One step: output variable, step name, arguments in the order written."""

    output: str
    operation: str
    arguments: tuple[tuple[str, Variable | str], ...]
    number: int = 0

    def argument(self, keyword: str) -> Variable | str:
        return dict(self.arguments)[keyword]


def parse(program: str) -> list[Line]:
    """The steps of a program. Raises ``ProgramError`` with the number of the faulty line."""
    lines = []
    for number, text in enumerate(program.splitlines(), start=1):
        if text.strip() and not text.strip().startswith("#"):
            try:
                lines.append(_parse_line(text.strip(), number))
            except ProgramError as error:
                raise ProgramError(error.status, _at(number, error)) from error
    return lines


def lint(lines: Sequence[Line]) -> list[str]:
    """Complaints about undefined names, arguments that do not fit and a missing RESULT."""
    complaints, known = [], set(INPUTS)
    for line in lines:
        complaints += [f"line {line.number}: {text}" for text in _lint_line(line, known)]
        known.add(line.output)
    if not any(line.operation == "RESULT" for line in lines):
        complaints.append("there is no RESULT step")
    return complaints


def compile(program: str) -> str:
    """The executable Python form. Raises ``ProgramError`` where the program cannot run."""
    lines = parse(program)
    complaints = lint(lines)
    if complaints:
        raise ProgramError("program_error", complaints[0])
    statements = [f"{line.output} = {_compile_line(line)}" for line in lines]
    last = [line.output for line in lines if line.operation == "RESULT"][-1]
    return "\n".join([*statements, f"_answer({last})"]) + "\n"


def _parse_line(text: str, number: int) -> Line:
    tree = parse_python(text)
    refuse_forbidden(tree)
    match tree.body:
        case [
            ast.Assign(
                targets=[ast.Name(id=output)],
                value=ast.Call(func=ast.Name(id=operation), args=[], keywords=keywords),
            )
        ]:
            arguments = tuple((str(k.arg), _argument(k.value)) for k in keywords)
            return _checked(Line(output, operation, arguments, number))
    raise ProgramError("program_error", "a step is NAME=OP(keyword=value, ...)")


def _argument(node: ast.expr) -> Variable | str:
    match node:
        case ast.Name(id=name):
            return Variable(name)
        case ast.Constant(value=str() as value):
            return value
    raise ProgramError("program_error", f"a {type(node).__name__} is neither a name nor a text")


def _checked(line: Line) -> Line:
    if line.operation not in OPERATIONS:
        raise ProgramError("program_error", f"there is no step {line.operation}")
    if line.output.startswith("_"):  # such names are the prelude's
        raise ProgramError("program_error", f"{line.output} begins with an underscore")
    return line


def _lint_line(line: Line, known: set[str]) -> list[str]:
    wanted, given = OPERATIONS[line.operation], dict(line.arguments)
    complaints = [f"{line.operation} has no {k}=" for k in wanted if k not in given]
    complaints += [f"{line.operation} takes no {k}=" for k in given if k not in wanted]
    for keyword, value in given.items():
        kind = "variable" if isinstance(value, Variable) else "text"
        if wanted.get(keyword, kind) != kind:
            complaints.append(f"{keyword}= of {line.operation} is not a {wanted[keyword]}")
        elif isinstance(value, Variable) and value.name not in known:
            complaints.append(f"{value.name} is not defined")
    if not complaints and line.operation == "EVAL":
        undefined = sorted(_names(given["expr"]) - known)
        complaints += [f"{name} is not defined" for name in undefined]
    return complaints


def _compile_line(line: Line) -> str:
    values = {k: v.name if isinstance(v, Variable) else repr(v) for k, v in line.arguments}
    match line.operation:
        case "LOC":
            return f"_loc({values['image']}, {values['object']})"
        case "VQA":
            return f"_vqa({values['image']}, {values['question']})"
        case "COUNT":
            return f"_count({values['box']})"
        case "EVAL":
            try:
                return _expression(str(line.argument("expr")))
            except ProgramError as error:
                raise ProgramError(error.status, _at(line.number, error)) from error
        case "RESULT":
            return values["var"]
    return f"_crop({line.operation!r}, {values['image']}, {values['box']})"


def _at(number: int, error: ProgramError) -> str:
    message = re.sub(r"^line \d+: ", "", error.message)  # of the piece of text that was parsed
    return f"line {number}: {message}"


def _names(expr: str) -> set[str]:
    return set(re.findall(r"\{([A-Za-z]\w*)\}", expr))


def _expression(expr: str) -> str:
    # The original replaces the letters "xor" by "!=" before it evaluates; so do the precedences.
    tree = parse_python(re.sub(r"\bxor\b", "!=", expr).strip(), mode="eval")
    refuse_forbidden(tree)
    return unparse(_Evaluation().visit, tree)


class _Evaluation(ast.NodeTransformer):
    """``{NAME}`` parses as a set of one name: it becomes the typed value of that variable."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if not isinstance(node, _EXPRESSION_NODES):
            raise ProgramError("program_error", f"EVAL cannot have {type(node).__name__}")
        return super().generic_visit(node)

    def visit_Set(self, node: ast.Set) -> ast.AST:
        if len(node.elts) == 1 and isinstance(node.elts[0], ast.Name):
            return _typed(node.elts[0].id)
        node.elts = [self.visit(element) for element in node.elts]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        raise ProgramError("program_error", f"EVAL: variables are written {{{node.id}}}")

    def visit_Call(self, node: ast.Call) -> ast.AST:
        match node.func:
            case ast.Name(id=name) if name in _FUNCTIONS:
                pass
            case ast.Attribute(attr=name) if name in _METHODS:
                node.func.value = self.visit(node.func.value)
            case _:
                called = getattr(node.func, "id", getattr(node.func, "attr", "that"))
                raise ProgramError("program_error", f"EVAL cannot call {called}")
        node.args = [self.visit(argument) for argument in node.args]
        if node.keywords:
            raise ProgramError("program_error", "EVAL calls take no keywords")
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A variable inside quotes: '{ANSWER0}' is the text of its value."""
        parts = re.split(r"\{([A-Za-z]\w*)\}", node.value) if isinstance(node.value, str) else []
        if len(parts) < 2:
            return node
        values: list[ast.expr] = []
        for position, part in enumerate(parts):
            if position % 2:
                values.append(ast.FormattedValue(_typed(part), conversion=-1))
            elif part:
                values.append(ast.Constant(part))
        return ast.JoinedStr(values)


def _typed(name: str) -> ast.Call:
    return ast.Call(ast.Name("_value", ast.Load()), [ast.Name(name, ast.Load())], [])
