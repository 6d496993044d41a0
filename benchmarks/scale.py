"""What running ever more programs costs: time and memory, with modules that cost nothing.

python -m benchmarks.scale --counts 1000,10000,100000

Each count runs in a process of its own, from the tables of a task as the stage `execute` does: the
stub modules answer, so that what is measured is the reading and joining of questions, programs and
images, the executor, its shards and the writing of both tables. Prints JSON: a line a count.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.workload import Memory
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.records import EXECUTIONS, IMAGES, PROGRAMS, QUESTIONS, STEPS
from sdvp_core.base.tables import TableWriter, write_table
from sdvp_core.interpreter.rows import Execution, execute_asked
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.modules import stub

DIALECTS = ("visprog", "viper")
QUESTIONS_AN_IMAGE = 10
IMAGE_BYTES = 3200  # of an image of the embedded world
VISPROG = """BOX0=LOC(image=IMAGE,object='{a} {b}')
IMAGE0=CROP_LEFTOF(image=IMAGE,box=BOX0)
ANSWER0=VQA(image=IMAGE0,question='What color is the {b}?')
FINAL_RESULT=RESULT(var=ANSWER0)"""
VIPER = """def execute_command(image) -> str:
    found = ImagePatch(image).find("{a} {b}")
    return found[0].simple_query("What color is the {b}?") if found else "none" """


def main(
    counts: Annotated[str, typer.Option(help="questions, in both dialects")] = "1000,10000,100000",
    held: int = 64,
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    if folder is not None:
        print(json.dumps(_measured(folder, held)))
        return
    for count in map(int, counts.split(",")):
        with tempfile.TemporaryDirectory() as made:
            _write_task(Path(made), count)
            child = [
                sys.executable,
                "-m",
                "benchmarks.scale",
                "--folder",
                made,
                "--held",
                str(held),
            ]
            done = subprocess.run(child, check=True, capture_output=True, text=True)
        print(json.dumps({"questions": count} | json.loads(done.stdout)))


def _measured(folder: Path, held: int) -> dict[str, Any]:
    task = TaskFolder(folder)
    execution = Execution(stub.load(), "stub", task.image_table, "image", Limits(), held)
    with Memory() as peak:
        started = time.perf_counter()
        programs, steps = _run(task, execution)
        spent = time.perf_counter() - started
    return {
        "programs": programs,
        "steps": steps,
        "traces_per_second": round(programs / spent, 1),
        "host_mb": round(peak.host),
        "workers_mb": round(peak.workers),
    }


def _run(task: TaskFolder, execution: Execution) -> tuple[int, int]:
    asked = task.asked("distill", DIALECTS)
    rows = execute_asked(asked, lambda: [execution], lambda *_: False, task.path / "shards")
    executions = TableWriter(task.path / "executions.parquet", EXECUTIONS)
    steps = TableWriter(task.path / "steps.parquet", STEPS)
    with executions, steps:
        for row in rows:
            executions.write([row["execution"]])
            steps.write(row["steps"])
    return executions.count, steps.count


def _write_task(folder: Path, count: int) -> None:
    write_table(folder / "questions.parquet", map(_question, range(count)), QUESTIONS)
    write_table(folder / "programs.parquet", _programs(count), PROGRAMS)
    images = map(_image, range(-(-count // QUESTIONS_AN_IMAGE)))
    write_table(folder / "images.parquet", images, IMAGES)


def _question(k: int) -> dict[str, Any]:
    image = f"i{k // QUESTIONS_AN_IMAGE}"
    return {
        "question_id": str(k),
        "split": "distill",
        "group_id": image,
        "image_ids": [image],
        "question": f"What color is the thing of question {k}?",
        "answer": "red",
        "answer_type": "word",
    }


def _image(k: int) -> dict[str, Any]:
    """A row with bytes that do not compress; no stub decodes them."""
    noise = hashlib.shake_256(str(k).encode()).digest(IMAGE_BYTES)
    return {"image_id": f"i{k}", "bytes": noise, "width": 100, "height": 100, "status": "ok"}


def _programs(count: int) -> Iterator[dict[str, Any]]:
    colours, names = stub.COLOURS, ("circle", "square", "triangle", "star", "cross")
    for k in range(count):
        words = {"a": colours[k % len(colours)], "b": names[k // 7 % len(names)]}
        for dialect, text in zip(DIALECTS, (VISPROG, VIPER), strict=True):
            yield {
                "program_id": f"{dialect}{k}",
                "question_id": str(k),
                "dialect": dialect,
                "program": text.format(**words),
                "status": "ok",
            }


if __name__ == "__main__":
    typer.run(main)
