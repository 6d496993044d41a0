"""A program for every question that is traced or evaluated, in both dialects.

python -m stages.generate shapes_gqa
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import Params, load_params
from sdvp_core.base.records import PROGRAMS, QUESTIONS
from sdvp_core.base.runtime import log, pick_device, progress, run_stage
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.llm.task import asked
from sdvp_core.program.bank import Bank
from sdvp_core.program.generate import recorded, semantic
from stages import paths

Row = dict[str, Any]


def main(name: str) -> None:
    params = load_params()
    folder, dialects = paths.task(name), params.generate.dialects
    questions = asked(iterate_rows(folder / "questions.parquet", QUESTIONS))
    match params.task(name).programs:
        case "semantic":
            source = nullcontext(semantic(questions, dialects))
        case "recorded":
            bank = Bank.load(folder / "bank.jsonl")
            source = nullcontext(recorded(questions, bank, dialects))
        case _:
            source = _llm(params, name, questions)
    with source as programs:
        shown = progress(programs, f"{name} programs")
        count = write_table(folder / "programs.parquet", shown, PROGRAMS)
    log.info("wrote %d programs to %s/programs.parquet", count, folder)


@contextmanager
def _llm(params: Params, name: str, questions: Iterator[Row]) -> Iterator[Iterator[Row]]:
    """Programs of a language model, tried out in the sandbox before they are taken."""
    from sdvp_core.evaluate.score import correct
    from sdvp_core.interpreter.rows import limits_of
    from sdvp_core.interpreter.tryout import trials
    from sdvp_core.llm.generate import Statistics, programs
    from sdvp_core.llm.settings import checked
    from sdvp_core.llm.task import prompts_of

    settings, task = checked(params.generate.llm), params.task(name)
    tables, counts = TaskFolder(paths.task(name)), Statistics()
    prompts = prompts_of(task, params.generate.dialects, settings.prompts)
    judge = _judge(settings, tables, params.run.device) if settings.keep == "answer" else None
    limits = limits_of(params.execute)
    with trials(tables.images(), task.scene, limits, judge, correct) as try_out:
        yield programs(questions, prompts, settings, name, try_out, statistics=counts)
    log.info("%s: %s", name, counts.metrics())


def _judge(settings: Any, tables: TaskFolder, device: str) -> Any:
    """The modules whose answers choose among samples of training questions."""
    if settings.judge == "oracle":
        from sdvp_core.modules import oracle

        return oracle.load(list(tables.annotations()))
    from sdvp_core.modules.students import load_students

    return load_students(settings.judge, pick_device(device))


if __name__ == "__main__":
    run_stage(main)
