"""Official files of a task in, three tables and its bank of programs out.

python -m stages.prepare shapes_gqa
"""

import importlib
import shutil
import tempfile
from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.params import Task, load_params
from sdvp_core.base.records import ANNOTATIONS, IMAGES, QUESTIONS
from sdvp_core.base.runtime import cache_folder, log, progress, run_stage
from sdvp_core.base.tables import write_table, write_text
from stages import paths


def main(name: str) -> None:
    params = load_params()
    task = params.task(name)
    with tempfile.TemporaryDirectory(dir=cache_folder("rendered")) as rendered:
        source = Path(task.source or rendered)
        if task.world:
            from sdvp_core.tasks import shapes

            shapes.write(name, source, dict(task.world), params.seed)
        _write_tables(name, task, source, params.seed)
        _copy_bank(task.bank, source, paths.task(name))


def _write_tables(name: str, task: Task, source: Path, seed: int) -> None:
    reader = importlib.import_module(f"sdvp_core.tasks.{task.reader}")
    tables = reader.read(source, name, seed, shares=_shares(task), limits=dict(task.limits))
    folder = paths.task(name)
    for file, rows, schema in (
        ("questions", tables.questions, QUESTIONS),
        ("images", tables.images, IMAGES),
        ("annotations", tables.annotations, ANNOTATIONS),
    ):
        count = write_table(folder / f"{file}.parquet", progress(rows, f"{name} {file}"), schema)
        log.info("wrote %d rows to %s/%s.parquet", count, folder, file)


def _shares(task: Task) -> dict[str, float]:
    """Parts of the official train split; those of the embedded world follow from its scenes."""
    if not task.world:
        return dict(task.shares)
    scenes = {split: task.world.get(split, 0) for split in ("train", "distill", "val")}
    total = sum(scenes.values()) or 1
    return {split: scenes[split] / total for split in ("distill", "val")}


def _copy_bank(bank: str | None, source: Path, folder: Path) -> None:
    found = Path(bank) if bank else source / "programs.jsonl"
    if bank and not found.is_file():
        raise UserError(f"{bank} does not exist: give `bank` the path of a JSON-lines file.")
    if found.is_file():
        shutil.copyfile(found, folder / "bank.jsonl")
    else:
        write_text(folder / "bank.jsonl", "")


if __name__ == "__main__":
    run_stage(main)
