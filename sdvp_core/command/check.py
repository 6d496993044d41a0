"""`check`: whether the files a task needs are there and whole, before anything is computed."""

import importlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.params import Params, Task, load_params
from sdvp_core.base.tables import read_jsonl
from sdvp_core.program.bank import Bank
from sdvp_core.tasks.images import image_row
from sdvp_core.tasks.source import TaskTables, json_entries

SAMPLED = 64  # images opened, spread over all
# What a task is evaluated on, and what a link or a teacher learns from. A name may have
# alternatives; the first one is what is asked for where none is there.
TEST = {
    "gqa": ["testdev_balanced_questions.json|testdev_*questions.json"],
    "nlvr2": ["test1.json|test.json|dev.json|*balanced_test1.json|*balanced_dev.json"],
    "nlvr": ["test.json"],
    "tallyqa": ["test.json"],
    "refcoco": ["refs.json", "instances.json"],
}
LEARNED = {
    "gqa": ["train_balanced_questions.json|train_*questions.json",
            "train_sceneGraphs.json|*sceneGraphs.json"],
    "nlvr2": ["train.json"],
    "nlvr": ["dev.json|train.json"],
    "tallyqa": ["train.json"],
    "refcoco": [],
}  # fmt: skip
# Records of the official files, by reader and name.
COUNTS = {
    ("gqa", "train_balanced_questions.json"): 943_000,
    ("gqa", "val_balanced_questions.json"): 132_062,
    ("gqa", "testdev_balanced_questions.json"): 12_578,
    ("nlvr2", "train.json"): 86_373,
    ("nlvr2", "dev.json"): 6_982,
    ("nlvr", "dev.json"): 989,
    ("nlvr", "test.json"): 990,
}
LINES = ("nlvr", "nlvr2")  # their files are JSON lines


@dataclass(frozen=True)
class Finding:
    """One line of the answer. ``status`` is present, missing or damaged."""

    status: str
    what: str
    detail: str = ""


def check_task(name: str) -> tuple[str, bool]:
    """What the terminal shows, and whether the task can be prepared.

    Every record of the task's files is read, and some of its images are opened. Raises
    ``UserError`` for an unknown task.
    """
    params = load_params()
    task = params.task(name)
    if task.source is None:
        return f"{name}: `prepare` renders it, it needs no files", True
    findings = _files(task, _is_learned(params, name))
    statuses = {finding.status for finding in findings}
    if "present" in statuses and "damaged" not in statuses:
        findings += _images(name, task, params.seed)
    findings += _bank(task)
    lines = [f"{f.status:<9}{f.what}{': ' if f.detail else ''}{f.detail}" for f in findings]
    return "\n".join(lines), all(f.status == "present" for f in findings)


def _is_learned(params: Params, name: str) -> bool:
    links = (link.task for link in params.sequence.values())
    return name in params.teachers or name in links or name == params.pretrain.task


def _files(task: Task, learned: bool) -> list[Finding]:
    source = Path(task.source or "")
    try:
        found = importlib.import_module(f"sdvp_core.tasks.{task.reader}").files(source)
    except UserError as error:
        return [Finding("missing", str(source), str(error))]
    findings = [_whole(path, task.reader) for path in found]
    for wanted in [*TEST[task.reader], *(LEARNED[task.reader] if learned else [])]:
        names = wanted.split("|")
        if not any(fnmatch(path.name, name) for path in found for name in names):
            findings.append(Finding("missing", str(source / names[0])))
    return findings


def _whole(path: Path, reader: str) -> Finding:
    """Reads a file to its end and counts its records."""
    lines = reader in LINES and "sceneGraphs" not in path.name
    entries: Iterable[Any] = read_jsonl(path) if lines else json_entries(path)
    try:
        count = sum(1 for _ in entries)
    except (UserError, OSError, UnicodeDecodeError) as error:
        return Finding("damaged", str(path), str(error))
    expected = COUNTS.get((reader, path.name), count)
    if count != expected:
        return Finding("damaged", str(path), f"{count} records, the official file has {expected}")
    return Finding("present", str(path), f"{count} records" if count else "no records")


def _images(name: str, task: Task, seed: int) -> list[Finding]:
    """Which images of the questions that `prepare` would take are there; some are opened."""
    reader = importlib.import_module(f"sdvp_core.tasks.{task.reader}")
    shares, limits = dict(task.shares), dict(task.limits)
    try:
        tables: TaskTables = reader.read(Path(task.source or ""), name, seed, shares, limits)
        files = list(tables.files())
        gone = {image_id for image_id, path in files if path is None or not path.is_file()}
        there = [(i, path) for i, path in files if i not in gone]
        if not there:
            return [Finding("missing", "images", f"none of {len(files)} in {task.source}/images")]
        share = _share(tables, gone)
    except UserError as error:
        return [Finding("damaged", "questions", str(error))]
    sample = there[:: max(1, len(there) // SAMPLED)]
    rows = [image_row(image_id, path) for image_id, path in sample]
    broken = [row["message"] for row in rows if row["status"] != "ok"]
    detail = f"{len(there)} of {len(files)}{share}"
    if broken:
        told = f"{len(broken)} of {len(sample)} opened are broken, such as {broken[0]}"
        return [Finding("damaged", "images", f"{detail}; {told}")]
    return [Finding("present", "images", f"{detail}; {len(sample)} opened")]


def _share(tables: TaskTables, gone: set[str]) -> str:
    """How many questions lack an image, in words; nothing where none does."""
    if not gone:
        return ""
    counts = Counter(gone.isdisjoint(row["image_ids"]) for row in tables.questions)
    return f", {100 * counts[True] / counts.total():.1f} % of the questions have all of theirs"


def _bank(task: Task) -> list[Finding]:
    if task.programs != "recorded":
        return []
    path = Path(task.bank) if task.bank else Path(task.source or "") / "programs.jsonl"
    if not path.is_file():
        return [Finding("missing", str(path), "the bank of recorded programs")]
    try:
        Bank.load(path)
    except (UserError, OSError, UnicodeDecodeError) as error:
        return [Finding("damaged", str(path), str(error))]
    return [Finding("present", str(path), "the bank of recorded programs")]
