"""The programs of a link's task, run over the student set the link starts from.

python -m stages.execute shapes_gqa
"""

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import load_params
from sdvp_core.base.records import EXECUTIONS, STEPS
from sdvp_core.base.runtime import (
    cache_folder,
    code_revision,
    file_sha256,
    log,
    pick_device,
    progress,
    run_stage,
)
from sdvp_core.base.shards import forget
from sdvp_core.base.tables import write_table
from stages import paths


def main(name: str) -> None:
    from sdvp_core.evaluate.score import correct
    from sdvp_core.interpreter.rows import Execution, execute_programs, limits_of
    from sdvp_core.interpreter.scheduler import Statistics
    from sdvp_core.modules.students import load_students, revision

    params = load_params()
    link = params.link(name)
    task = TaskFolder(paths.task(link.task))
    questions = task.questions("distill")
    programs = task.programs(questions, params.generate.dialects)
    students = paths.students(link.after)
    execution = Execution(
        load_students(students, pick_device(params.run.device)),
        link.after,
        task.images(),
        params.task(link.task).scene,
        limits_of(params.execute),
        params.run.held,
    )
    shards = cache_folder(
        "execute",
        code_revision("base", "program", "modules", "interpreter"),
        revision(students)[:16],
        file_sha256(task.path / "programs.parquet")[:16],
    )
    statistics = Statistics()
    rows = execute_programs(programs, questions, execution, correct, shards, statistics)
    traces = list(progress(rows, f"{name} traces", len(programs)))
    folder = paths.link(name)
    write_table(folder / "executions.parquet", (row["execution"] for row in traces), EXECUTIONS)
    count = write_table(
        folder / "steps.parquet", (step for row in traces for step in row["steps"]), STEPS
    )
    forget(shards)
    log.info("wrote %d traces and %d steps to %s; %s", len(traces), count, folder, statistics)


if __name__ == "__main__":
    run_stage(main)
