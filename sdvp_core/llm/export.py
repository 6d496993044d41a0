"""A bank of the programs a model wrote: JSON lines to commit or share, read by `recorded`."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.tables import disk_errors
from sdvp_core.program.bank import DIALECTS

Row = dict[str, Any]


def write_bank(
    path: Path, questions: Iterable[Mapping[str, Any]], programs: Iterable[Mapping[str, Any]]
) -> int:
    """Write the bank atomically and return how many questions it holds; see :func:`bank`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    count = 0
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                for row in bank(questions, programs):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    count += 1
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return count


def bank(
    questions: Iterable[Mapping[str, Any]], programs: Iterable[Mapping[str, Any]]
) -> Iterator[Row]:
    """Yield ``{"sentence", "visprog", "viper", "model"}`` for every different question text.

    ``programs`` are rows of PROGRAMS in the order of ``questions``, as `generate` leaves them; only
    those of status ok are taken, several samples as a list. Of questions asked of several images
    the first that has a program counts. Raises ``UserError`` where the two do not belong together.
    """
    asked = iter(questions)
    written: set[int] = set()  # hashes: a million texts would fill the memory
    for question_id, group in groupby(programs, key=lambda row: row["question_id"]):
        question = next((q for q in asked if q["question_id"] == question_id), None)
        if question is None:
            raise UserError(
                f"The programs are not those of the questions ({question_id!r} is out of order): "
                "run `generate` again."
            )
        text = question["question"]
        rows = [row for row in group if row["status"] == "ok"]
        if rows and hash(text) not in written:
            written.add(hash(text))
            yield {"sentence": text} | _by_dialect(rows) | {"model": rows[0]["model"]}


def _by_dialect(rows: list[Mapping[str, Any]]) -> Row:
    found = {d: [row["program"] for row in rows if row["dialect"] == d] for d in DIALECTS}
    return {d: texts[0] if len(texts) == 1 else texts for d, texts in found.items() if texts}
