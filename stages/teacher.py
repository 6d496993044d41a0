"""The small teacher of a task, fitted on its train split and measured on held-out sub-questions.

python -m stages.teacher shapes_gqa
"""

import shutil
from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder, images_of
from sdvp_core.base.params import load_params
from sdvp_core.base.runtime import log, run_stage, seed_everything
from sdvp_core.base.tables import write_json
from stages import paths


def main(name: str) -> None:
    from sdvp_core.teacher.fit import fit, measure
    from sdvp_core.teacher.model import load, save

    params = load_params()
    section, folder = params.teacher(name), paths.teacher(name)
    task = TaskFolder(paths.task(name))
    if section.folder:
        load(Path(section.folder))  # a folder that holds no teacher ends here
        shutil.copytree(section.folder, folder, dirs_exist_ok=True)
        log.info("copied the teacher of %s from %s", name, section.folder)
        return
    seed_everything(params.seed)
    images = task.images()
    train, val = task.questions("train"), task.questions("val")
    if not train:
        raise UserError(f"{name} has no question in its train split: a teacher cannot be fitted.")
    teacher = fit(
        list(task.annotations(images_of(train))),
        images,
        list(train.values()),
        section,
        params.seed,
        lambda what, step, loss: log.info("%s %s step %d loss %.3f", name, what, step, loss),
    )
    save(teacher, folder)
    held_out = list(task.annotations(images_of(val)))
    found = measure(teacher, held_out, images, list(val.values()), params.seed, section.measured)
    write_json(folder / "held_out.json", found)
    log.info("wrote the teacher to %s: %s %s", folder, teacher.parameters(), found)


if __name__ == "__main__":
    run_stage(main)
