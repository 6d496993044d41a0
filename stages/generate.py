"""A program for every question that is traced or evaluated, in both dialects.

python -m stages.generate shapes_gqa
"""

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import load_params
from sdvp_core.base.records import PROGRAMS
from sdvp_core.base.runtime import log, progress, run_stage
from sdvp_core.base.tables import write_table
from sdvp_core.program.bank import Bank
from sdvp_core.program.generate import recorded, semantic
from stages import paths


def main(name: str) -> None:
    params = load_params()
    folder = paths.task(name)
    questions = TaskFolder(folder).questions("distill", "val", "test").values()
    dialects = params.generate.dialects
    if params.task(name).programs == "semantic":
        rows = semantic(questions, dialects)
    else:
        rows = recorded(questions, Bank.load(folder / "bank.jsonl"), dialects)
    count = write_table(folder / "programs.parquet", progress(rows, f"{name} programs"), PROGRAMS)
    log.info("wrote %d programs to %s/programs.parquet", count, folder)


if __name__ == "__main__":
    run_stage(main)
