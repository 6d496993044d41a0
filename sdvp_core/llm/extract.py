"""The program in a model's answer: out of prose, fences, thoughts, lists and echoed headers."""

import re
import textwrap
from collections.abc import Iterable, Iterator

from sdvp_core.program import viper, visprog
from sdvp_core.program.errors import ProgramError

LONGEST_ANSWER = 100_000  # characters that are searched; gibberish is not worth more
LONGEST_STEP = 1000
COMPILERS = {"visprog": visprog.compile, "viper": viper.compile}

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
# Where a template opens the thought itself, the answer shows only how it ends.
_THOUGHT_END = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
# A heading may stand before it, but no single #: that is a comment in a program.
_NEXT_QUESTION = re.compile(
    r"^(?:#{2,}\s*|[*_>]+\s*)?(?:question|statement|user|human)\W*:", re.IGNORECASE
)
_FENCE = re.compile(r"```+|^~~~+", re.MULTILINE)
_LABEL = re.compile(r"^\W*(?:program|answer|output|code|visprog|python)\W*:\s*", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:(?:[-*>•]|\d+[.):])\s+|>>>\s*)?")
_STEP = re.compile(r"^[A-Za-z_]\w*\s*=\s*[A-Za-z_]+\s*\(")
_LAST_STEP = re.compile(r"^\w+\s*=\s*RESULT\b")
_HEADER = re.compile(r"^def execute_command\b")
_TOP_LEVEL = re.compile(r"^(?:def |import |from \w[\w.]* import |[A-Za-z_]\w* = )")
_BODY = re.compile(r"^(?:\s|$|[)\]}])")  # a signature over several lines ends in column 0


def program(answer: str, dialect: str) -> str | None:
    """The text of the program, None where an answer holds nothing that looks like one.

    Of several, the last one that compiles is taken (models correct themselves), else the last.
    What follows the next question, which small models go on to invent, is not read.
    """
    text = _THOUGHT_END.sub("", _THOUGHT.sub("\n", answer[:LONGEST_ANSWER]))
    found = list(_candidates(text.replace("\r\n", "\n"), dialect))
    if len(found) < 2:
        return found[0] if found else None
    good = [candidate for candidate in found if complaint(candidate, dialect) is None]
    return (good or found)[-1]


def complaint(text: str, dialect: str) -> str | None:
    """What the compiler has against a program, None where it can run."""
    try:
        COMPILERS[dialect](text)
    except ProgramError as error:
        return error.message
    return None


def _candidates(text: str, dialect: str) -> Iterator[str]:
    find = _visprog_programs if dialect == "visprog" else _viper_programs
    seen = False
    for block in _FENCE.split(text):
        lines = block.split("\n")
        if seen and any(_NEXT_QUESTION.match(line) for line in lines):
            return
        for candidate in find(_up_to_the_next_question(lines)):
            seen = True
            yield candidate


def _up_to_the_next_question(lines: list[str]) -> list[str]:
    begun = False
    for number, line in enumerate(lines):
        if begun and _NEXT_QUESTION.match(line):
            return lines[:number]
        begun = begun or bool(_STEP.match(_bare(line)) or _HEADER.match(line.strip()))
    return lines


def _bare(line: str) -> str:
    """A line without bullet, number, label and the backticks around it."""
    return _LABEL.sub("", _BULLET.sub("", line).strip().strip("`").strip())


def _visprog_programs(lines: list[str]) -> Iterator[str]:
    """Runs of steps, each up to its RESULT; a step broken over several lines is joined."""
    steps: list[str] = []
    rest = iter([_bare(line) for line in lines])
    for step in rest:
        if not _STEP.match(step):
            continue
        while step.count("(") > step.count(")") and len(step) < LONGEST_STEP:
            more = next(rest, None)
            if more is None:
                break
            step += f" {more}"
        steps.append(step.rstrip(";,"))
        if _LAST_STEP.match(step):
            yield "\n".join(steps)
            steps = []
    if steps:
        yield "\n".join(steps)


def _viper_programs(lines: list[str]) -> Iterator[str]:
    """Every execute_command with the block's helpers, or a bare body under a header of its own."""
    lines = [line.expandtabs(4) for line in lines]
    headers = [line for line in lines if _HEADER.match(line.strip())]
    if not headers:
        yield from _bare_body(lines)
        return
    margin = len(headers[0]) - len(headers[0].lstrip())
    chunks = _chunks(line[margin:] if not line[:margin].strip() else "prose" for line in lines)
    helpers = [chunk for chunk in chunks if not _HEADER.match(chunk)]
    for chunk in chunks:
        if _HEADER.match(chunk) and "\n" in chunk:  # an echoed header stands alone
            yield "\n".join([*helpers, chunk])


def _chunks(lines: Iterable[str]) -> list[str]:
    """Functions, imports and assignments of the top level; classes, calls and prose are left out.

    Models like to repeat the class ImagePatch they were told of and to call their function.
    """
    chunks: list[list[str]] = []
    inside = False
    for line in lines:
        if _TOP_LEVEL.match(line):
            chunks.append([line])
            inside = True
        elif inside and _BODY.match(line):
            chunks[-1].append(line)
        else:
            inside = False
    return ["\n".join(chunk).rstrip() for chunk in chunks]


def _bare_body(lines: list[str]) -> Iterator[str]:
    starts = [n for n, line in enumerate(lines) if "ImagePatch(" in line]
    ends = [n for n, line in enumerate(lines) if line.strip().startswith("return ")]
    if starts and ends and starts[0] <= ends[-1]:
        body = textwrap.dedent("\n".join(lines[starts[0] : ends[-1] + 1]))
        pair = re.search(r"ImagePatch\((?:left|right)\)", body)
        header = f"def execute_command({'left, right' if pair else 'image'}) -> str:"
        yield f"{header}\n{textwrap.indent(body, '    ')}"
