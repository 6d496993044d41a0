"""Student sets on tasks, in both dialects, beside their ceiling and the models asked directly.

python -m stages.evaluate shapes_gqa            a link: all tasks its students should know
python -m stages.evaluate base shapes_generic   the base students on one task
"""

from typing import Annotated

import typer

from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import Params, load_params
from sdvp_core.base.records import PREDICTIONS
from sdvp_core.base.runtime import cache_folder, log, pick_device, run_stage
from sdvp_core.base.shards import forget
from sdvp_core.base.tables import iterate_rows, write_json, write_table
from stages import paths


def main(name: str, task: Annotated[str | None, typer.Argument()] = None) -> None:
    from sdvp_core.evaluate.runs import Runs
    from sdvp_core.interpreter.rows import limits_of

    params = load_params()
    limits = limits_of(params.execute)
    runs = Runs(limits, params.run.held, cache_folder("evaluate"))
    if name == "base":
        if task is None:
            raise UserError("`base` is evaluated on one task at a time: name it after `base`.")
        _students(runs, params, "base", task)
        runs.oracle(_asked(params, task))
        write_table(paths.EVALUATIONS / "base" / f"{task}.parquet", runs.predictions, PREDICTIONS)
    else:
        _link(runs, params, name)
    for shards in runs.shards:
        forget(shards)


def _link(runs, params: Params, name: str) -> None:
    from sdvp_core.evaluate.compare import evaluate_link
    from sdvp_core.modules.students import revision
    from sdvp_core.teacher.swap import load_modules
    from sdvp_core.teacher.swap import revision as teacher_revision

    link, roles = params.link(name), _roles(params, name)
    for task in roles:
        _students(runs, params, name, task)
    for student_set in sorted({"base", link.after}):
        _students(runs, params, student_set, link.task)
    asked = _asked(params, link.task)
    runs.oracle(asked)
    teacher = paths.teacher(link.task)
    runs.teacher(asked, load_modules(teacher), teacher_revision(teacher))
    earlier = sorted((paths.EVALUATIONS / link.after).glob("*.parquet"))
    rows = runs.predictions + [row for path in earlier for row in iterate_rows(path, PREDICTIONS)]
    result = evaluate_link(
        name,
        link.task,
        ["base", *params.chain(name)],
        rows,
        roles,
        revision(paths.students(name)),
        subsets=_subsets(asked),
        steps=runs.checks,
        seed=params.seed,
        resamples=params.evaluate.resamples,
    )
    folder = paths.EVALUATIONS / name
    write_table(folder / "predictions.parquet", rows, PREDICTIONS)
    write_json(folder / "evaluation.json", result)
    log.info("wrote %s/predictions.parquet (%d rows) and evaluation.json", folder, len(rows))


def _roles(params: Params, name: str) -> dict[str, str]:
    """Target, tasks of earlier links and skills from before any link, and what is never trained."""
    link = params.link(name)
    earlier = {params.link(other).task: "previous" for other in params.chain(link.after)}
    return {**params.evaluate.skills, **earlier, link.task: "target"}


def _asked(params: Params, task: str):
    from sdvp_core.evaluate.predict import AskedTask

    folder = TaskFolder(paths.task(task))
    return AskedTask.load(task, folder, params.task(task).scene, params.generate.dialects)


def _students(runs, params: Params, name: str, task: str) -> None:
    from sdvp_core.modules.students import load_students, revision

    folder = paths.students(name)
    modules = load_students(folder, pick_device(params.run.device))
    runs.students(_asked(params, task), modules, name, revision(folder))


def _subsets(asked) -> dict[str, dict[str, list[str]]]:
    """Question ids by kind, where a task tells kinds apart (NLVR: tower and scatter)."""
    from sdvp_core.evaluate.predict import kinds

    return {asked.name: kinds(asked.questions)}


if __name__ == "__main__":
    run_stage(main)
