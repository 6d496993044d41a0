"""`bank`: a task's programs as a file that `programs: recorded` replays without any server."""

from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import PROGRAMS, QUESTIONS
from sdvp_core.base.tables import iterate_rows
from sdvp_core.llm.export import write_bank


def export_bank(out: Path, task: str, data: Path) -> str:
    """Write the bank of a task's programs to ``out``; what the terminal shows.

    ``data`` holds the tables, a folder a task. Raises ``UserError`` where the task has no program.
    """
    programs, questions = data / task / "programs.parquet", data / task / "questions.parquet"
    if not programs.is_file():
        raise UserError(f"{programs} does not exist: run `dvc repro generate@{task}` first.")
    rows = iterate_rows(programs, PROGRAMS, ["status"])
    if not any(row["status"] == "ok" for row in rows):
        raise UserError(f"{programs} holds no program of status ok: there is nothing to export.")
    count = write_bank(out, iterate_rows(questions, QUESTIONS), iterate_rows(programs, PROGRAMS))
    return (
        f"wrote the programs of {count} questions to {out}: "
        f"`programs: recorded` and `bank: {out}` replay them"
    )
