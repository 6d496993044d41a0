"""The teacher's target for every step of a link: the process-supervision table.

python -m stages.supervise shapes_gqa
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sdvp_core.base.folder import TaskFolder, images_of
from sdvp_core.base.params import load_params
from sdvp_core.base.records import EXECUTIONS, STEPS, SUPERVISION
from sdvp_core.base.runtime import log, pick_device, progress, run_stage
from sdvp_core.base.tables import iterate_rows, write_json, write_table
from stages import paths

Row = dict[str, Any]


def main(name: str) -> None:
    from sdvp_core.modules import oracle
    from sdvp_core.modules.students import load_students, revision
    from sdvp_core.teacher.accuracy import measure_strategies, target_accuracy
    from sdvp_core.teacher.label import label
    from sdvp_core.teacher.model import load

    params = load_params()
    link, settings = params.link(name), params.supervise_of(name)
    task = TaskFolder(paths.task(link.task))
    questions, images = task.questions("distill"), task.images()
    annotations = list(task.annotations(images_of(questions)))
    annotated = any(row["objects"] for row in annotations)
    perfect = oracle.load(annotations) if annotated else {}
    teacher = load(paths.teacher(link.task), pick_device(params.run.device))
    students = paths.students(link.after)
    answers = getattr(load_students(students)["vqa"], "answers", None)
    traces = list(_traces(name, link.task, questions))
    rows = label(traces, teacher, images, settings, answers, perfect, revision(students))
    labelled = list(progress(rows, f"{name} targets", sum(map(len, traces))))
    folder = paths.link(name)
    write_table(folder / "supervision.parquet", labelled, SUPERVISION)
    kept = sum(row["kept"] for row in labelled)
    found = {
        "steps": len(labelled),
        "kept": kept,
        "accuracy": target_accuracy(labelled),
        "kept_accuracy": target_accuracy(labelled, kept_only=True),
        "strategies": measure_strategies(traces, teacher, images, settings, perfect, annotations),
    }
    write_json(paths.SUPERVISED / f"{name}.json", found)
    log.info("kept %d of %d targets in %s: %s", kept, len(labelled), folder, found["accuracy"])


def _traces(name: str, task: str, questions: dict[str, Row]) -> Iterator[list[Row]]:
    """The steps of each execution, with the columns that say where they come from."""
    folder = paths.link(name)
    origins = {
        row["execution_id"]: {
            "question_id": row["question_id"],
            "program_id": row["program_id"],
            "task": task,
            "dialect": row["dialect"],
            "group_id": questions[row["question_id"]]["group_id"],
        }
        for row in iterate_rows(folder / "executions.parquet", EXECUTIONS)
    }
    steps = iterate_rows(folder / "steps.parquet", STEPS)
    for execution_id, trace in groupby(steps, lambda step: step["execution_id"]):
        yield [step | origins[execution_id] for step in trace]


if __name__ == "__main__":
    run_stage(main)
