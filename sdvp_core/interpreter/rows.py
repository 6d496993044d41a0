"""Programs in, rows of the executions and steps tables out: in shards, resumable."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdvp_core.base.images import ImageStore
from sdvp_core.base.params import Execute as ExecuteParams
from sdvp_core.base.records import stable_id, to_json
from sdvp_core.base.shards import in_shards
from sdvp_core.interpreter.sandbox import Sandbox
from sdvp_core.interpreter.scheduler import Job, Limits, Statistics, execute
from sdvp_core.interpreter.trace import Trace
from sdvp_core.modules.call import Module

Row = dict[str, Any]
SHARD_PROGRAMS = 1024


@dataclass(frozen=True)
class Execution:
    """How programs are run: by which student set, on which images, within which limits."""

    modules: Mapping[str, Module]
    student_set: str
    images: ImageStore
    scene: str
    limits: Limits
    held: int = 64


def limits_of(section: ExecuteParams) -> Limits:
    """The limits of one program, from the `execute` section of params.yaml."""
    return Limits(section.seconds, section.memory_mb * 2**20, section.depth, section.calls)


def execute_programs(
    programs: Iterable[Row],
    questions: Mapping[str, Row],
    execution: Execution,
    correct: Callable[[Any, Row], bool],
    shards: Path,
    statistics: Statistics | None = None,
) -> Iterator[Row]:
    """Yield ``{"execution": row, "steps": [rows]}`` for every program, in order.

    Memory does not grow with the number of programs, which may come from a generator. A shard is
    run by itself, so that a run that was stopped ends with the very batches, and bytes, of one that
    was not. Programs of one question, and questions of one image, should stand together: equal
    calls are computed once within a shard.
    ``correct`` scores an answer against its question's row. ``shards`` is the folder where finished
    shards wait for a run that is killed; its name must tell programs, students and code apart.
    A program whose own row has a status other than ok is not run: its status is carried over.
    """

    def compute(shard: list[Row]) -> Iterator[Row]:
        jobs = [_job(row, questions, execution.scene) for row in shard if row["status"] == "ok"]
        traces = execute(
            jobs,
            execution.modules,
            execution.images,
            execution.limits,
            execution.held,
            statistics=statistics,
            sandbox=sandbox,
        )
        for row in shard:
            trace = next(traces) if row["status"] == "ok" else _not_run(row)
            yield _rows(trace, row, questions[row["question_id"]], execution.student_set, correct)

    with Sandbox(execution.limits, execution.held) as sandbox:  # warm from shard to shard
        yield from in_shards(programs, shards / _kind(execution), compute, SHARD_PROGRAMS)


def _kind(execution: Execution) -> str:
    """What the rows depend on beside programs, students and code; `held` makes the batches."""
    limits = asdict(execution.limits)
    return stable_id(execution.student_set, execution.scene, limits, execution.held, SHARD_PROGRAMS)


def _job(row: Row, questions: Mapping[str, Row], scene: str) -> Job:
    image_ids = tuple(questions[row["question_id"]]["image_ids"])
    return Job(row["program_id"], row["dialect"], row["program"], image_ids, scene)


def _not_run(row: Row) -> Trace:
    return Trace(row["program_id"], "program_error", row["message"], None, [])


def _rows(
    trace: Trace,
    program: Row,
    question: Row,
    student_set: str,
    correct: Callable[[Any, Row], bool],
) -> Row:
    execution_id = stable_id(program["program_id"], student_set)
    ok = trace.status == "ok"
    execution = {
        "execution_id": execution_id,
        "program_id": program["program_id"],
        "question_id": program["question_id"],
        "dialect": program["dialect"],
        "student_set": student_set,
        "status": trace.status,
        "error": trace.error,
        "answer": to_json(trace.answer) if ok else None,
        "correct": ok and correct(trace.answer, question),
        "steps": len(trace.steps),
    }
    return {"execution": execution, "steps": [step_row(step, execution_id) for step in trace.steps]}


def step_row(step: Any, execution_id: str) -> Row:
    """The row of the steps table for a step of a trace."""
    call, output = step.call, step.output
    return {
        "step_id": stable_id(execution_id, step.index),
        "execution_id": execution_id,
        "index": step.index,
        "parents": list(step.parents),
        "module": call.module,
        "arguments": to_json(step.arguments),
        "text": " | ".join(call.texts),
        "image_id": call.image_id,
        "region": [float(c) for c in call.region],
        "output": to_json(output.value(call.module)) if output.error is None else None,
        "confidence": float(output.confidence),
    }
