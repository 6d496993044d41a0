"""The programs of a link's task, run over the student set the link starts from.

python -m stages.execute shapes_gqa
"""

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
from sdvp_core.base.tables import TableWriter
from stages import paths


def main(name: str) -> None:
    from sdvp_core.evaluate.score import correct
    from sdvp_core.interpreter.rows import Execution, execute_programs, limits_of
    from sdvp_core.interpreter.scheduler import Statistics
    from sdvp_core.modules.students import load_students, revision
    from sdvp_core.teacher.forcing import forced
    from sdvp_core.teacher.swap import load_modules
    from sdvp_core.teacher.swap import revision as teacher_revision

    leave_a_core()
    params = load_params()
    link = params.link(name)
    task = TaskFolder(paths.task(link.task))
    questions = task.questions("distill")
    programs = task.programs(questions, params.generate.dialects)
    students, teacher = paths.students(link.after), paths.teacher(link.task)
    modules = load_students(students, pick_device(params.run.device))
    passes = [(link.after, modules)]
    if params.execute.teacher_forcing:
        passes.append((f"{link.after} forced", forced(modules, load_modules(teacher))))
    shards = cache_folder(
        "execute",
        code_revision("base", "program", "modules", "interpreter", "teacher", "evaluate"),
        f"{revision(students)}-{teacher_revision(teacher)}",
        task.revision("questions", "images", "programs"),
    )
    statistics, images = Statistics(), task.images()
    scene, limits = params.task(link.task).scene, limits_of(params.execute)
    rows = (
        row
        for label, these in passes
        for row in execute_programs(
            programs,
            questions,
            Execution(these, label, images, scene, limits, params.run.held),
            correct,
            shards / label,
            statistics,
        )
    )
    folder = paths.link(name)
    with (
        TableWriter(folder / "executions.parquet", EXECUTIONS) as executions,
        TableWriter(folder / "steps.parquet", STEPS) as steps,
    ):
        for row in progress(rows, f"{name} traces", len(programs) * len(passes)):
            executions.write([row["execution"]])
            steps.write(row["steps"])
    forget(shards)
    log.info("wrote the traces and their steps to %s; %s", folder, statistics)


if __name__ == "__main__":
    run_stage(main)
