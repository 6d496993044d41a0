"""The embedded world: rendered scenes, written in the official formats of real data sets."""

from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.tasks.shapes import as_gqa, as_nlvr2, as_refcoco, as_tallyqa
from sdvp_core.tasks.shapes.render import scene

TASKS = ("shapes_generic", "shapes_gqa", "shapes_nlvr2", "shapes_count", "shapes_refer")
__all__ = ["TASKS", "scene", "write"]


def write(task: str, folder: Path, scenes: dict[str, int], seed: int) -> None:
    """Render one of the five tasks into ``folder``, in the official files of its format.

    ``scenes`` is the number of images of each split ("train", "distill", "val", "test"). The first
    three make up the official train split, which the reader divides again by image (or pair).
    shapes_count and shapes_refer have test scenes only. Equal arguments give equal bytes. Tasks
    without functional programs get a bank, ``programs.jsonl``. ``UserError`` for another task.
    """
    folder = Path(folder)
    if task == "shapes_generic":
        as_gqa.write(task, folder, scenes, seed, "flat")
    elif task == "shapes_gqa":
        as_gqa.write(task, folder, scenes, seed, "tinted")
    elif task == "shapes_nlvr2":
        as_nlvr2.write(task, folder, scenes, seed, "dusk")
    elif task == "shapes_count":
        as_tallyqa.write(task, folder, scenes, seed, ("flat", "tinted"))
    elif task == "shapes_refer":
        as_refcoco.write(task, folder, scenes, seed, ("flat", "dusk"))
    else:
        raise UserError(f"There is no embedded task {task!r}: use one of {', '.join(TASKS)}.")
