"""Student sets on tasks, in both dialects, beside their ceiling and the models asked directly.

python -m stages.evaluate shapes_gqa            a link: all tasks its students should know
python -m stages.evaluate base shapes_generic   the base students on one task
"""

from typing import Annotated

import typer

from sdvp_core.base.errors import UserError
from sdvp_core.base.parallel import leave_a_core
from sdvp_core.base.params import load_params
from sdvp_core.base.runtime import cache_folder, log, run_stage
from sdvp_core.base.tables import write_json
from stages import paths


def main(name: str, task: Annotated[str | None, typer.Argument()] = None) -> None:
    from sdvp_core.evaluate.link import Evaluation, Places

    leave_a_core()
    params = load_params()
    places = Places(paths.task, paths.students, paths.teacher)
    evaluation = Evaluation(params, places, cache_folder("evaluate"))
    if name == "base":
        if task is None:
            raise UserError("`base` is evaluated on one task at a time: name it after `base`.")
        evaluation.base(task, paths.EVALUATIONS / "base" / f"{task}.parquet")
        return
    folder, after = paths.EVALUATIONS / name, params.link(name).after
    earlier = sorted((paths.EVALUATIONS / after).glob("*.parquet"))
    result = evaluation.link(name, earlier, folder / "predictions.parquet")
    write_json(folder / "evaluation.json", result)
    log.info("wrote %s/predictions.parquet and evaluation.json", folder)


if __name__ == "__main__":
    run_stage(main)
