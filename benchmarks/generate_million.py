"""What asking a language model for ever more programs costs apart from the model itself.

python -m benchmarks.generate_million --questions 20000

Every question is another one; a stub in this process answers at once, in place of the server. The
answers' store, the Parquet table of questions and that of programs are the real ones. Prints JSON,
with the seconds of the clock and of this process alone; the figures of memory must not grow from a
tenth of the way to its end.
"""

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from sdvp_core.base.records import PROGRAMS, QUESTIONS
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.llm import client
from sdvp_core.llm.generate import programs
from sdvp_core.llm.prompt import Prompt
from sdvp_core.llm.settings import checked
from sdvp_core.llm.store import Store

PROGRAM = "ANSWER0=VQA(image=IMAGE,question='What is it?')\nFINAL_RESULT=RESULT(var=ANSWER0)"
BODY = {
    "choices": [{"message": {"role": "assistant", "content": PROGRAM}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 900, "completion_tokens": 40},
}


class Response:
    """What the client reads of a response."""

    content = json.dumps(BODY).encode()


class Server:
    """Stands where the `openai` client stands."""

    async def post(self, *_: Any, **__: Any) -> Response:
        return Response()

    async def close(self) -> None:
        pass


def main(questions: int = 20_000, concurrency: int = 16) -> None:
    client._server = lambda settings, secret: Server()
    settings = checked(
        {"base_url": "http://localhost/v1", "model": "stub", "concurrency": concurrency}
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "questions.parquet", _questions(questions), QUESTIONS)
        peaks: dict[int, int] = {}
        started, began = time.perf_counter(), time.process_time()
        with Store(folder / "answers.sqlite") as store:
            rows = programs(
                iterate_rows(folder / "questions.parquet", QUESTIONS),
                {"visprog": Prompt.load("gqa", "visprog")},
                settings,
                "benchmark",
                store=store,
            )
            watched = _watched(rows, {max(1, questions // 10), questions}, peaks)
            count = write_table(folder / "programs.parquet", watched, PROGRAMS)
        seconds, busy = time.perf_counter() - started, time.process_time() - began
    assert count == questions
    result = {
        "questions": questions,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "per_second": round(questions / seconds, 1),
        "peak_rss_mb_at_10_percent": min(peaks.values()),
        "peak_rss_mb_at_100_percent": max(peaks.values()),
    }
    print(json.dumps(result))


def _questions(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {
            "question_id": f"q{number}",
            "task": "benchmark",
            "split": "test",
            "group_id": f"i{number}",
            "image_ids": [f"i{number}"],
            "question": f"What is the thing number {number}?",
            "answer": "cat",
            "answer_type": "word",
        }


def _watched(
    rows: Iterator[dict[str, Any]], marks: set[int], peaks: dict[int, int]
) -> Iterator[dict[str, Any]]:
    """Pass rows on; note the most memory so far (MB) at some of them. Linux counts it in kB."""
    for number, row in enumerate(rows, 1):
        if number in marks:
            peaks[number] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        yield row


if __name__ == "__main__":
    typer.run(main)
