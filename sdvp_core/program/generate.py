"""Programs for questions: compiled from their functional programs, or replayed from a bank."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sdvp_core.base.records import stable_id
from sdvp_core.program import semantic as functional
from sdvp_core.program.bank import DIALECTS, Bank
from sdvp_core.program.errors import ProgramError

Row = dict[str, Any]


def semantic(
    questions: Iterable[Mapping[str, Any]], dialects: Sequence[str] = DIALECTS
) -> Iterator[Row]:
    """Yield a row of PROGRAMS for every question and dialect, one question held at a time.

    Status `missing` where a question has no functional program, `invalid` where it has one that
    cannot be compiled.
    """
    for question in questions:
        for dialect in dialects:
            yield _row(question, dialect, "semantic", 0, *_compiled(question, dialect))


def recorded(
    questions: Iterable[Mapping[str, Any]], bank: Bank, dialects: Sequence[str] = DIALECTS
) -> Iterator[Row]:
    """Yield a row of PROGRAMS for every program that a bank has for a question and dialect.

    Where it has none, one row of status `missing`.
    """
    for question in questions:
        for dialect in dialects:
            programs = bank.programs(question["question"], dialect)
            for sample, program in enumerate(programs):
                yield _row(question, dialect, "recorded", sample, program, "ok", None)
            if not programs:
                message = f"the bank has no {dialect} program for {question['question']!r}"
                yield _row(question, dialect, "recorded", 0, None, "missing", message)


def _compiled(question: Mapping[str, Any], dialect: str) -> tuple[str | None, str, str | None]:
    """Program, status and message."""
    if not question["semantic"]:
        return None, "missing", "the question has no functional program to compile"
    try:
        steps = json.loads(question["semantic"])
        if not isinstance(steps, list):
            return None, "missing", "the question has no functional program to compile"
        return functional.compile(steps, question["question"], dialect), "ok", None
    except (json.JSONDecodeError, ProgramError) as error:
        return None, "invalid", str(error)


def _row(
    question: Mapping[str, Any],
    dialect: str,
    source: str,
    sample: int,
    program: str | None,
    status: str,
    message: str | None,
) -> Row:
    return {
        "program_id": stable_id(question["question_id"], dialect, source, sample),
        "question_id": question["question_id"],
        "dialect": dialect,
        "program": program,
        "source": source,
        "model": None,
        "prompt_sha256": None,
        "sample": sample,
        "logprob": None,
        "status": status,
        "message": message,
    }
