"""The traces of a link, streamed from its tables `executions` and `steps`."""

from array import array
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import EXECUTIONS, FORCED, STEPS
from sdvp_core.base.tables import iterate_rows

Row = dict[str, Any]


def trace_lengths(executions: Path) -> array:
    """How many steps each trace of :func:`read_traces` has; executions without steps are none."""
    rows = iterate_rows(executions, EXECUTIONS, ["steps"])
    return array("L", (row["steps"] for row in rows if row["steps"]))


def read_traces(
    executions: Path, steps: Path, task: str, groups: Mapping[str, str]
) -> Iterator[list[Row]]:
    """The steps of each execution, with the columns that say where they come from.

    Both tables stand in the order of the executions, so that one trace is held at a time. ``task``
    is the name they get, ``groups`` the group of each question. Raises ``UserError`` where a step
    belongs to no execution, or stands in another order than its execution.
    """
    begun = iterate_rows(executions, EXECUTIONS)
    rows = iterate_rows(steps, STEPS)
    for execution_id, trace in groupby(rows, lambda step: step["execution_id"]):
        execution = next((row for row in begun if row["execution_id"] == execution_id), None)
        if execution is None:
            raise UserError(
                f"{steps} has steps of {execution_id!r}, which {executions} does not name in the "
                "same order: run the stage `execute` again."
            )
        origin = {
            "question_id": execution["question_id"],
            "program_id": execution["program_id"],
            "task": task,
            "dialect": execution["dialect"],
            "group_id": groups[execution["question_id"]],
            "forced": (execution["student_set"] or "").endswith(FORCED),
        }
        yield [step | origin for step in trace]
