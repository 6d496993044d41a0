"""The teacher's target for every step of a link: the process-supervision table.

python -m stages.supervise shapes_gqa
"""

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import load_params
from sdvp_core.base.records import CONTRASTS, SUPERVISION
from sdvp_core.base.runtime import (
    cache_folder,
    file_sha256,
    log,
    pick_device,
    progress,
    run_stage,
)
from sdvp_core.base.shards import forget
from sdvp_core.base.tables import write_json, write_table
from stages import paths


def main(name: str) -> None:
    from sdvp_core.modules.students import load_students, revision
    from sdvp_core.teacher.accuracy import Tally, draw
    from sdvp_core.teacher.model import load
    from sdvp_core.teacher.supervise import Supervision
    from sdvp_core.teacher.traces import read_traces, trace_lengths

    params = load_params()
    link, settings = params.link(name), params.supervise_of(name)
    task, students = TaskFolder(paths.task(link.task)), paths.students(link.after)
    answers = getattr(load_students(students)["vqa"], "answers", None)
    teacher = load(paths.teacher(link.task), pick_device(params.run.device))
    labels = Supervision(task, "distill", teacher, settings, answers, revision(students))
    folder, groups, tally = paths.link(name), task.groups("distill"), Tally()
    tables = folder / "executions.parquet", folder / "steps.parquet"
    shards = cache_folder("supervise", f"{name}-{'-'.join(file_sha256(t)[:16] for t in tables)}")
    lengths = trace_lengths(tables[0])
    rows = labels.rows(read_traces(*tables, link.task, groups), shards)
    rows = tally.watch(progress(rows, f"{name} targets", sum(lengths)))
    write_table(folder / "supervision.parquet", rows, SUPERVISION)
    contrasts = labels.contrasts(folder / "supervision.parquet", shards / "contrasts", params.seed)
    write_table(folder / "contrasts.parquet", progress(contrasts, f"{name} contrasts"), CONTRASTS)
    measured = draw(lengths, settings.measured_steps)
    traces = enumerate(read_traces(*tables, link.task, groups))
    found = {
        "steps": tally.steps,
        "kept": tally.kept,
        "accuracy": tally.accuracy(),
        "kept_accuracy": tally.accuracy(kept_only=True),
        "strategies": labels.strategies([trace for n, trace in traces if n in measured]),
    }
    write_json(paths.SUPERVISED / f"{name}.json", found)
    forget(shards)
    log.info("kept %d of %d targets in %s: %s", tally.kept, tally.steps, folder, found["accuracy"])


if __name__ == "__main__":
    run_stage(main)
