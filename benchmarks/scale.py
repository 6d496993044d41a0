"""What running ever more programs costs: time and memory, with modules that cost nothing.

python -m benchmarks.scale --counts 1000,10000,100000

Each count runs in a process of its own: the stub modules answer, so that what is measured is the
executor, its shards and the writing of both tables. Prints JSON: a line a count.
"""

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
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import EXECUTIONS, STEPS
from sdvp_core.base.tables import TableWriter
from sdvp_core.interpreter.rows import Execution, execute_programs
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.modules import stub

IMAGES = 1000
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
    one: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    if one is not None:
        print(json.dumps(_measured(one, held)))
        return
    for count in counts.split(","):
        command = [sys.executable, "-m", "benchmarks.scale", "--one", count, "--held", str(held)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def _measured(count: int, held: int) -> dict[str, Any]:
    images = ImageStore(
        {"image_id": f"i{k}", "width": 100, "height": 100, "path": "none.png", "status": "ok"}
        for k in range(IMAGES)
    )
    execution = Execution(stub.load(), "stub", images, "image", Limits(), held)
    with tempfile.TemporaryDirectory() as folder, Memory() as peak:
        started = time.perf_counter()
        steps = _run(count, execution, Path(folder))
        spent = time.perf_counter() - started
    return {
        "questions": count,
        "programs": 2 * count,
        "steps": steps,
        "traces_per_second": round(2 * count / spent, 1),
        "host_mb": round(peak.host),
        "workers_mb": round(peak.workers),
    }


def _run(count: int, execution: Execution, folder: Path) -> int:
    rows = execute_programs(
        _programs(count), _Questions(), execution, lambda answer, question: False, folder / "shards"
    )
    executions = TableWriter(folder / "executions.parquet", EXECUTIONS)
    steps = TableWriter(folder / "steps.parquet", STEPS)
    with executions, steps:
        for row in rows:
            executions.write([row["execution"]])
            steps.write(row["steps"])
    return steps.count


def _programs(count: int) -> Iterator[dict[str, Any]]:
    colours, names = stub.COLOURS, ("circle", "square", "triangle", "star", "cross")
    for k in range(count):
        words = {"a": colours[k % len(colours)], "b": names[k // 7 % len(names)]}
        for dialect, text in (("visprog", VISPROG), ("viper", VIPER)):
            yield {
                "program_id": f"{dialect}{k}",
                "question_id": str(k),
                "dialect": dialect,
                "program": text.format(**words),
                "status": "ok",
            }


class _Questions(dict):
    """Question rows made when asked for: nothing grows with their number."""

    def __missing__(self, question_id: str) -> dict[str, Any]:
        return {"question_id": question_id, "image_ids": [f"i{int(question_id) % IMAGES}"]}


if __name__ == "__main__":
    typer.run(main)
