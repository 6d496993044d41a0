"""A question with its answer and its functional program, before it gets an id and a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Operations = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Draft:
    """One question. ``semantic`` is GQA's list of operations, ``types`` and ``groups`` as there."""

    question: str
    answer: str
    full_answer: str
    semantic: list[dict[str, Any]]
    types: dict[str, str]
    groups: dict[str, str | None]


def types(structural: str, semantic: str, detailed: str) -> dict[str, str]:
    """GQA's three types of a question."""
    return {"structural": structural, "semantic": semantic, "detailed": detailed}


def chain(operations: Operations, *last: tuple[str, str]) -> list[dict[str, Any]]:
    """A program in which every operation depends on the one before it."""
    return [
        {"operation": o, "dependencies": [i - 1] if i else [], "argument": a}
        for i, (o, a) in enumerate([*operations, *last])
    ]


def join(first: Operations, second: Operations, last: tuple[str, str]) -> list[dict[str, Any]]:
    """Two chains and a last operation that depends on the end of both."""
    left, right = chain(first), chain(second)
    for operation in right:
        operation["dependencies"] = [d + len(left) for d in operation["dependencies"]]
    ends = [len(left) - 1, len(left) + len(right) - 1]
    return [*left, *right, {"operation": last[0], "dependencies": ends, "argument": last[1]}]


def semantic_text(semantic: Sequence[dict[str, Any]]) -> str:
    """GQA's ``semanticStr``: "select: square (1)->filter color: red [0]->query: name [1]"."""
    parts = []
    for operation in semantic:
        text = f"{operation['operation']}: {operation['argument']}"
        places = ", ".join(str(d) for d in operation["dependencies"])
        parts.append(f"{text} [{places}]" if places else text)
    return "->".join(parts)
