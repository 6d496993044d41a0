"""Programs in, rows of the executions and steps tables out: in shards, resumable."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdvp_core.base.folder import Asked
from sdvp_core.base.images import ImageStore, ImageTable
from sdvp_core.base.params import Execute as ExecuteParams
from sdvp_core.base.records import stable_id, to_json
from sdvp_core.base.shards import in_shards
from sdvp_core.interpreter.calls import BatchSizes
from sdvp_core.interpreter.sandbox import Sandbox
from sdvp_core.interpreter.scheduler import Job, Limits, Statistics, execute
from sdvp_core.interpreter.trace import Trace
from sdvp_core.modules.call import Module

Row = dict[str, Any]
Correct = Callable[[Any, Row], bool]
SHARD_PROGRAMS = 1024


@dataclass(frozen=True)
class Execution:
    """How programs are run: by which student set, on which images, within which limits.

    ``device`` is the one the modules compute on: its scores are its own in the last digit.
    """

    modules: Mapping[str, Module]
    student_set: str
    images: ImageStore | ImageTable
    scene: str
    limits: Limits
    held: int = 64
    device: str = "cpu"
    parked: int = 0


def limits_of(section: ExecuteParams) -> Limits:
    """The limits of one program, from the `execute` section of params.yaml."""
    return Limits(section.seconds, section.memory_mb * 2**20, section.depth, section.calls)


def execute_asked(
    asked: Iterable[Asked],
    passes: Callable[[], Sequence[Execution]],
    correct: Correct,
    shards: Path,
    statistics: dict[str, Statistics] | None = None,
) -> Iterator[Row]:
    """Yield ``{"execution": row, "steps": [rows]}`` for every program, in order.

    Memory does not grow with the number of programs, which may come from a generator. A shard is
    run by itself, so that a run that was stopped ends with the very batches, and bytes, of one that
    was not. Programs of one question, and questions of one image, should stand together: equal
    calls are computed once within a shard, and only the images of a shard are read.
    ``passes`` is called anew for each shard, whose programs go through one pass after the other;
    passes differ in modules and student set alone. ``correct`` scores an answer against its
    question's row. ``shards`` is the folder where finished shards wait for a run that is killed;
    its name must tell programs, students and code apart. ``statistics`` is counted up by student
    set; finished shards bring their counts, so that a resumed run has those of an undisturbed one.
    A program whose own row has a status other than ok is not run: its status is carried over.
    """
    first, sizes = passes(), BatchSizes()

    def compute(shard: list[Asked]) -> Iterator[Row]:
        images = first[0].images.only({i for _, question in shard for i in question["image_ids"]})
        counts = {}
        for execution in passes():
            counted = Statistics()
            yield from _shard_rows(shard, execution, images, correct, sandbox, sizes, counted)
            counts[execution.student_set] = asdict(counted)
        yield {"statistics": counts}

    run = first[0]
    with Sandbox(run.limits, run.held, run.parked) as sandbox:  # warm from shard to shard
        for row in in_shards(asked, shards / _kind(first), compute, SHARD_PROGRAMS):
            if "statistics" not in row:
                yield row
            elif statistics is not None:
                for name, counts in row["statistics"].items():
                    _add(statistics.setdefault(name, Statistics()), counts)


def _shard_rows(
    shard: list[Asked],
    execution: Execution,
    images: ImageStore,
    correct: Correct,
    sandbox: Sandbox,
    batch_sizes: BatchSizes,
    statistics: Statistics,
) -> Iterator[Row]:
    jobs = [_job(*asked, execution.scene) for asked in shard if asked[0]["status"] == "ok"]
    traces = execute(
        jobs,
        execution.modules,
        images,
        execution.limits,
        execution.held,
        statistics=statistics,
        sandbox=sandbox,
        parked=execution.parked,
        batch_sizes=batch_sizes,
    )
    for program, question in shard:
        trace = next(traces) if program["status"] == "ok" else _not_run(program)
        yield _rows(trace, program, question, execution.student_set, correct)


def _add(total: Statistics, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        so_far = getattr(total, name)
        largest = name.startswith("largest_")
        setattr(total, name, max(so_far, count) if largest else so_far + count)


def _kind(passes: Sequence[Execution]) -> str:
    """What the rows depend on beside programs, students and code.

    `held` and `parked` make the batches.
    """
    first = passes[0]
    names = [execution.student_set for execution in passes]
    limits = asdict(first.limits)
    batches = first.held, first.parked, first.device, SHARD_PROGRAMS
    return stable_id(names, first.scene, limits, *batches)


def _job(program: Row, question: Row, scene: str) -> Job:
    image_ids = tuple(question["image_ids"])
    return Job(program["program_id"], program["dialect"], program["program"], image_ids, scene)


def _not_run(row: Row) -> Trace:
    return Trace(row["program_id"], "program_error", row["message"], None, [])


def _rows(
    trace: Trace,
    program: Row,
    question: Row,
    student_set: str,
    correct: Correct,
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
