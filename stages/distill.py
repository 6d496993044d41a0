"""The students of a link: they learn its kept targets, step by step, and keep what they knew.

python -m stages.distill shapes_gqa
"""

from sdvp_core.base.params import Distill, load_params
from sdvp_core.base.records import CONTRASTS, SUPERVISION
from sdvp_core.base.runtime import cache_folder, log, pick_device, run_stage, seed_everything
from sdvp_core.base.shards import forget
from sdvp_core.base.tables import iterate_rows
from stages import paths


def main(name: str) -> None:
    from sdvp_core.base.images import ImageStore
    from sdvp_core.distill import memory
    from sdvp_core.distill.link import distill
    from sdvp_core.modules.students import load_students, save_students

    params = load_params()
    link, settings = params.link(name), params.distill_of(name)
    seed_everything(params.seed)
    device = pick_device(params.run.device)
    replay, pictures = memory.load(paths.students(link.after))
    images = ImageStore.from_table(paths.task(link.task) / "images.parquet").joined(pictures)
    rows = iterate_rows(paths.link(name) / "supervision.parquet", SUPERVISION)
    contrasts = iterate_rows(paths.link(name) / "contrasts.parquet", CONTRASTS)
    checkpoint = cache_folder("distill", name)
    students, samples, found = distill(
        load_students(paths.students(link.after), device),
        load_students(paths.students(link.after), device),  # the frozen ones
        rows,
        contrasts,
        replay,
        images,
        settings,
        params.seed,
        paths.LIVE / name,
        checkpoint,
    )
    folder = paths.students(name)
    save_students(students, folder)
    left = memory.chosen(samples, _counts(settings), params.seed)
    memory.save(folder, replay + left, images)
    forget(checkpoint)
    log.info("wrote the students of %s to %s: %s", name, folder, found)


def _counts(settings: Distill) -> dict[str, int]:
    return {str(module): count for module, count in settings.replay.items()}


if __name__ == "__main__":
    run_stage(main)
