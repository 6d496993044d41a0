"""`batch-write` and `batch-read`: a task's requests as files of OpenAI's Batch service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import Params, load_params
from sdvp_core.base.records import QUESTIONS
from sdvp_core.base.tables import iterate_rows
from sdvp_core.llm.batch import Results, read_results, write_requests
from sdvp_core.llm.generate import job_name
from sdvp_core.llm.settings import LlmSettings, checked
from sdvp_core.llm.store import Store
from sdvp_core.llm.task import asked, prompts_of


def write_batch(name: str, out: Path, data: Path) -> str:
    """Write every request of a task that has no stored answer yet; what the terminal shows.

    ``data`` holds the prepared tables, a folder a task. Raises ``UserError`` for a task whose
    programs no language model writes, and for requests that are written already.
    """
    params = load_params()
    settings, prompts = _asking(params, name)
    folder = TaskFolder(data / name)
    questions = asked(iterate_rows(folder.path / "questions.parquet", QUESTIONS))
    with Store() as store, _trials(params, name, folder) as try_out:
        counts = write_requests(questions, prompts, settings, out, store, try_out)
    if not counts:
        return f"{name}: every request has its answer; run `dvc repro generate@{name}`."
    files = ", ".join(f"{path} (requests: {count})" for path, count in counts.items())
    return f"{name}: wrote {files}"


def read_batch(file: Path, task: str | None = None) -> str:
    """Put the answers of a result file where `generate` looks; what the terminal shows.

    ``task`` says whose budget their tokens count for. Raises ``UserError`` for a file without a
    single answer.
    """
    job = ""
    if task is not None:
        settings, prompts = _asking(load_params(), task)
        job = job_name(task, prompts, settings)
    with Store() as store:
        results = _read(file, store, job)
    counts = f"{results.failed} failed, {results.foreign} lines are of something else"
    if not results.stored:
        raise UserError(f"{file} holds no answer ({counts}): give the output file of the batch.")
    return f"{file}: stored {results.stored} answers, {counts}"


def _read(file: Path, store: Store, job: str) -> Results:
    try:
        return read_results(file, store, job)
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}): give the output of the batch.") from None


def _asking(params: Params, name: str) -> tuple[LlmSettings, dict[str, Any]]:
    """Settings and prompts of a task, as the stage `generate` makes them."""
    task = params.task(name)
    if task.programs != "llm":
        raise UserError(
            f"The programs of {name} are `{task.programs}`: set `programs: llm` under "
            f"`tasks.{name}` in params.yaml to have a language model write them."
        )
    settings = checked(params.generate.llm)
    return settings, prompts_of(task, params.generate.dialects, settings.prompts)


@contextmanager
def _trials(params: Params, name: str, folder: TaskFolder) -> Iterator[Any]:
    """The sandbox on stub modules, whose complaints a repair sends back.

    Nobody judges answers here: which sample is kept changes no request.
    """
    from sdvp_core.evaluate.score import correct
    from sdvp_core.interpreter.rows import limits_of
    from sdvp_core.interpreter.tryout import trials

    limits = limits_of(params.execute)
    with trials(folder.images(), params.task(name).scene, limits, None, correct) as try_out:
        yield try_out
