"""The user's command line: run programs, explain answers, ask in batches, check data sets.

python -m sdvp_core run programs.jsonl --images photos --students models/base --out out.jsonl
python -m sdvp_core explain --image a.jpg --question "What color is it?" --students models/base
python -m sdvp_core dataset describe release
python -m sdvp_core batch-write nlvr2 requests.jsonl
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sdvp_core.base.errors import UserError
from sdvp_core.base.runtime import start_log

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
dataset = typer.Typer(no_args_is_help=True, help="Check, describe or publish a released dataset.")
app.add_typer(dataset, name="dataset")


class Dialect(StrEnum):
    """The two program dialects."""

    visprog = "visprog"
    viper = "viper"


Students = Annotated[str, typer.Option(help="`stub`, `oracle`, or the folder of a student set.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Data = Annotated[Path, typer.Option(help="Folder of the prepared tables, a folder a task.")]
PREPARED = Path() / "data"  # where the stages leave them


@app.command()
def run(
    file: Annotated[
        Path, typer.Argument(help="JSON lines: id, dialect, program, image or images.")
    ],
    images: Annotated[Path, typer.Option(help="Folder that the image names are relative to.")],
    students: Students,
    out: Annotated[Path, typer.Option(help="JSON lines: id, status, answer, error, steps.")],
    device: Device = "auto",
    held: Annotated[int, typer.Option(help="Programs suspended at once.", min=1)] = 64,
) -> None:
    """Execute every program of FILE on its image(s) and write one row for each."""
    from sdvp_core.command.run import run_file

    counts = run_file(file, images, students, out, device, held)
    typer.echo(f"wrote {sum(counts.values())} rows to {out}: {counts}")


@app.command()
def explain(
    image: Annotated[Path, typer.Option(help="The image.")],
    question: Annotated[str, typer.Option(help="The question asked of it.")],
    students: Students,
    program: Annotated[
        Path | None, typer.Option(help="A file with the program; without it VQA is asked directly.")
    ] = None,
    dialect: Annotated[
        Dialect | None, typer.Option(help="The program's dialect; told from its text if not given.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The HTML trace.")] = Path("trace.html"),
    device: Device = "auto",
) -> None:
    """Answer one question about one image, step by step, with an HTML trace."""
    from sdvp_core.command.explain import explain_question

    chosen = dialect.value if dialect else None
    typer.echo(explain_question(image, question, students, program, chosen, out, device))


@app.command()
def check(task: Annotated[str, typer.Argument(help="A task of params.yaml.")]) -> None:
    """Say for each file that TASK needs whether it is present, missing or damaged."""
    from sdvp_core.command.check import check_task

    told, usable = check_task(task)
    typer.echo(told)
    if not usable:
        raise UserError(f"{task} cannot be used as it is: docs/data.md says where its files are.")


@app.command()
def score(
    task: Annotated[str, typer.Argument(help="A task of params.yaml, prepared, with programs.")],
    students: Annotated[str, typer.Option(help="A student set's folder, or oracle.")],
    split: Annotated[str, typer.Option(help="distill, val or test.")] = "val",
    perfect: Annotated[list[str] | None, typer.Option(help="Modules to answer perfectly.")] = None,
    data: Data = PREPARED,
) -> None:
    """Accuracy of TASK's programs over a student set, on a split to choose settings by."""
    from sdvp_core.command.score import score as scored

    typer.echo(scored(task, students, split, data, perfect or []))


@app.command()
def bank(
    out: Annotated[Path, typer.Argument(help="JSON lines: sentence, visprog, viper, model.")],
    task: Annotated[str, typer.Option(help="The task whose programs are exported.")],
    data: Data = PREPARED,
) -> None:
    """Export a task's programs as a bank that `programs: recorded` replays."""
    from sdvp_core.command.bank import export_bank

    typer.echo(export_bank(out, task, data))


@app.command()
def batch_write(
    task: Annotated[str, typer.Argument(help="A task with `programs: llm`.")],
    out: Annotated[Path, typer.Argument(help="Request file for OpenAI's Batch service.")],
    data: Data = PREPARED,
) -> None:
    """Write the requests of TASK that have no answer yet, to be sent as a batch."""
    from sdvp_core.command.batch import write_batch

    typer.echo(write_batch(task, out, data))


@app.command()
def batch_read(
    file: Annotated[Path, typer.Argument(help="The output file of a batch.")],
    task: Annotated[
        str | None, typer.Option(help="The task whose budget the tokens count for.")
    ] = None,
) -> None:
    """Store the answers of a batch, so that `generate` need not ask for them."""
    from sdvp_core.command.batch import read_batch

    typer.echo(read_batch(file, task))


@dataset.command()
def validate(folder: Annotated[Path, typer.Argument(help="A release folder.")]) -> None:
    """Check schema, checksums and ids of a released dataset."""
    from sdvp_core.command.dataset import validate_release

    typer.echo(validate_release(folder))


@dataset.command()
def describe(folder: Annotated[Path, typer.Argument(help="A release folder.")]) -> None:
    """Count rows by task, module, dialect and drop reason."""
    from sdvp_core.command.dataset import describe_release

    typer.echo(describe_release(folder))


@dataset.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A release folder.")],
    repo: Annotated[str, typer.Argument(help="Dataset repository on the Hugging Face hub.")],
) -> None:
    """Upload a release to the Hugging Face hub (HF_TOKEN from the environment)."""
    from sdvp_core.command.dataset import push_release

    typer.echo(push_release(folder, repo))


def main() -> None:
    """Entry point: a mistake of the user is one line and exit code 1."""
    start_log()
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped: run the same command again.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
