"""The base students: tiny ones trained from scratch, or downloaded checkpoints.

python -m stages.pretrain
"""

from sdvp_core.base.folder import TaskFolder, images_of
from sdvp_core.base.params import load_params
from sdvp_core.base.runtime import cache_folder, log, run_stage, seed_everything
from sdvp_core.base.shards import forget
from stages import paths


def main() -> None:
    from sdvp_core.distill import memory
    from sdvp_core.distill.pretrain import pretrain
    from sdvp_core.modules.students import save_checkpoints, save_students

    params = load_params()
    section = params.pretrain
    if section.checkpoint:
        save_checkpoints(section.checkpoint, paths.BASE)
        log.info("wrote the names of the checkpoints to %s", paths.BASE)
        return
    seed_everything(params.seed)
    task = TaskFolder(paths.task(section.task))
    images = task.images()
    train, val = (list(task.annotations(images_of(task.questions(s)))) for s in ("train", "val"))
    sizes = {row["image_id"]: images.size(row["image_id"]) for row in train + val}
    checkpoint = cache_folder("pretrain")
    students, samples, found = pretrain(
        train,
        images,
        sizes,
        section.words,
        section.answers,
        {name: getattr(section, name) for name in ("vqa", "locate", "match")},
        params.seed,
        lambda row: row["step"] % 200 == 0 and log.info("pretrain %s", row),
        held_out=val,
        checkpoint=checkpoint,
    )
    save_students(students, paths.BASE)
    memory.save(paths.BASE, memory.chosen(samples, section.replay, params.seed), images)
    forget(checkpoint)
    log.info("wrote the base students to %s: %s", paths.BASE, found)


if __name__ == "__main__":
    run_stage(main)
