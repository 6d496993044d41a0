"""The programs of a link's task, run over the student set the link starts from.

python -m stages.execute shapes_gqa
"""

from dataclasses import asdict
from functools import partial

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.parallel import leave_a_core
from sdvp_core.base.params import load_params
from sdvp_core.base.records import EXECUTIONS, STEPS
from sdvp_core.base.runtime import (
    cache_folder,
    code_revision,
    log,
    pick_device,
    progress,
    run_stage,
)
from sdvp_core.base.shards import forget
from sdvp_core.base.tables import TableWriter, write_json
from stages import paths


def main(name: str) -> None:
    from sdvp_core.evaluate.score import correct
    from sdvp_core.interpreter.rows import Execution, execute_asked, limits_of
    from sdvp_core.modules.students import load_students, revision
    from sdvp_core.teacher.forcing import passes
    from sdvp_core.teacher.swap import load_modules
    from sdvp_core.teacher.swap import revision as teacher_revision

    leave_a_core()
    params = load_params()
    link, device = params.link(name), pick_device(params.run.device)
    task, dialects = TaskFolder(paths.task(link.task)), params.generate.dialects
    students, teacher = paths.students(link.after), paths.teacher(link.task)
    plain = Execution(
        load_students(students, device),
        link.after,
        task.image_table,
        params.task(link.task).scene,
        limits_of(params.execute),
        params.run.held,
        device,
        params.run.parked,
    )
    forcing = load_modules(teacher) if params.execute.teacher_forcing else {}
    shards = cache_folder(
        "execute",
        code_revision("base", "program", "modules", "interpreter", "teacher", "evaluate"),
        f"{revision(students)}-{teacher_revision(teacher)}",
        f"{task.revision('questions', 'images', 'programs')}-{'-'.join(dialects)}",
    )
    asked, counts = task.asked("distill", dialects), {}
    rows = execute_asked(asked, partial(passes, plain, forcing), correct, shards, counts)
    total = task.count_asked("distill", dialects) * (2 if forcing else 1)
    folder = paths.link(name)
    with (
        TableWriter(folder / "executions.parquet", EXECUTIONS) as executions,
        TableWriter(folder / "steps.parquet", STEPS) as steps,
    ):
        for row in progress(rows, f"{name} traces", total):
            executions.write([row["execution"]])
            steps.write(row["steps"])
    found = dict(zip(("plain", "forced"), map(asdict, counts.values()), strict=False))
    write_json(paths.EXECUTED / f"{name}.json", found)
    forget(shards)
    log.info("wrote the traces and their steps to %s; %s", folder, found)


if __name__ == "__main__":
    run_stage(main)
