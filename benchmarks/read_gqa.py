"""What reading GQA's question files costs: time and memory, on a file made here.

python -m benchmarks.read_gqa --megabytes 1000

The file has the official form and about the official size of a record. Prints JSON: seconds of one
pass over the questions (of the clock, and of this process alone), and the most memory of the
process before and after.
"""

import json
import resource
import tempfile
import time
from pathlib import Path

import typer

from sdvp_core.tasks import gqa

IMAGES = 72_000  # about as many as the official train split has
RECORD = {
    "semantic": [
        {"operation": "select", "dependencies": [], "argument": "fence (329782)"},
        {"operation": "filter hposition", "dependencies": [0], "argument": "left"},
        {"operation": "query", "dependencies": [1], "argument": "color"},
    ],
    "semanticStr": "select: fence (329782)->filter hposition: left [0]->query: color [1]",
    "entailed": ["05515822", "05515823", "05515824", "05515825", "05515826", "05515827"],
    "equivalent": ["05515822", "05515828", "05515829"],
    "question": "What is the color of the fence on the left of the picture?",
    "isBalanced": True,
    "groups": {"global": "color", "local": "04-fence_color"},
    "answer": "white",
    "annotations": {"answer": {}, "question": {"6": "329782"}, "fullAnswer": {"2": "329782"}},
    "types": {"detailed": "categoryAttr", "semantic": "attr", "structural": "query"},
    "fullAnswer": "The fence is white.",
}


def main(megabytes: int = 1000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train_balanced_questions.json"
        written = _write(path, megabytes * 10**6)
        before = _peak_mb()
        started, began = time.perf_counter(), time.process_time()
        read = sum(1 for _ in gqa.read(Path(folder), "gqa").questions)
        seconds, busy = time.perf_counter() - started, time.process_time() - began
        size = path.stat().st_size
    assert read == written
    result = {
        "megabytes": round(size / 10**6),
        "questions": read,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "peak_rss_mb_before": before,
        "peak_rss_mb": _peak_mb(),
    }
    print(json.dumps(result))


def _write(path: Path, size: int) -> int:
    line, number = json.dumps(RECORD), 0
    with path.open("w", encoding="utf-8") as file:
        written = 0
        while written < size:
            head = f'{{"imageId": "{number % IMAGES}", '
            written += file.write(f'{", " if number else "{"}"{number:08d}": {head}{line[1:]}')
            number += 1
        file.write("}")
    return number


def _peak_mb() -> int:
    """Most resident memory so far, in MB. Linux counts it in kilobytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    typer.run(main)
