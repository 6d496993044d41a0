"""Runs that are scored: programs over any modules, and models asked the whole question."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from sdvp_core.base.folder import Asked, TaskFolder
from sdvp_core.base.images import ImageError, ImageStore, ImageTable
from sdvp_core.base.records import stable_id, to_json
from sdvp_core.evaluate.score import correct
from sdvp_core.interpreter.rows import Execution, execute_asked
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.modules.call import Call, Module

Row = dict[str, Any]
ASKED_TOGETHER = 1024  # questions: images of so many are held; a multiple of a student's batch


@dataclass(frozen=True)
class AskedTask:
    """The evaluated questions of a task with their programs and images, read when asked for."""

    name: str
    scene: str
    folder: TaskFolder
    split: str
    dialects: Collection[str]
    programs: int  # how many
    revision: str  # of all that changes a row

    @classmethod
    def load(
        cls, name: str, folder: TaskFolder, scene: str, dialects: Iterable[str], split: str = "test"
    ) -> "AskedTask":
        """Questions of one split and what belongs to them."""
        chosen = sorted(dialects)
        tables = folder.revision("questions", "images", "programs")
        revision = stable_id(tables, split, chosen)
        programs = folder.count_asked(split, chosen)
        return cls(name, scene, folder, split, chosen, programs, revision)

    @property
    def questions(self) -> Iterator[Row]:
        """The question rows, in the order of the file."""
        return self.folder.question_rows(self.split)

    @property
    def images(self) -> ImageTable:
        """The images of the questions, among others."""
        return self.folder.image_table

    @property
    def annotations(self) -> Iterator[Row]:
        """The annotation rows of the images of the questions."""
        return self.folder.annotations(self.folder.image_ids(self.split))

    def asked(self) -> Iterator[Asked]:
        """Every program with its question, in the order of the file."""
        return self.folder.asked(self.split, self.dialects)


def run_programs(
    task: AskedTask,
    modules: Mapping[str, Module],
    student_set: str,
    limits: Limits,
    held: int,
    shards: Path,
    device: str = "cpu",
) -> Iterator[tuple[Row, list[Row]]]:
    """Every program of the task over one set of modules: its prediction and the steps it took.

    Rows carry ``student_set`` as it is. Run again with equal ``shards``, it reads them back.
    """
    execution = Execution(modules, student_set, task.images, task.scene, limits, held, device)
    rows = execute_asked(task.asked(), lambda: [execution], correct, shards)
    for (_, question), row in zip(task.asked(), rows, strict=True):
        done = row["execution"]
        prediction = _prediction(task, question, student_set, done["dialect"], done["answer"])
        outcome = {key: done[key] for key in ("program_id", "status", "correct")}
        yield prediction | outcome, row["steps"]


def ask_whole(task: AskedTask, vqa: Module, student_set: str, dialect: str) -> Iterator[Row]:
    """One model asked every question of the task itself: no program, the whole image.

    A pair of photos is shown side by side. A task whose answers are boxes cannot be asked so and
    has no rows. ``dialect`` is `bare_student` or `bare_teacher`.
    """
    questions = (row for row in task.questions if row["answer_type"] != "box")
    while asked := list(islice(questions, ASKED_TOGETHER)):
        yield from _ask_some(task, asked, vqa, student_set, dialect)


def _ask_some(
    task: AskedTask, questions: list[Row], vqa: Module, student_set: str, dialect: str
) -> Iterator[Row]:
    whole = _WholeImages(task.images.only({i for row in questions for i in row["image_ids"]}))
    calls, rows = [], []
    for question in questions:
        image_id = " ".join(question["image_ids"])
        row = _prediction(task, question, student_set, dialect, None)
        try:
            width, height = whole.size(image_id)
        except ImageError as error:
            rows.append(row | {"status": "module_error", "prediction": None, "error": str(error)})
            continue
        calls.append(Call("vqa", image_id, (0.0, 0.0, width, height), (question["question"],)))
        rows.append(row)
    answers = iter(vqa.answer(calls, whole))
    for row, question in zip(rows, questions, strict=True):
        yield _scored(row, question, answers)


class _WholeImages(ImageStore):
    """Several images joined left to right, under their ids joined by a space."""

    def __init__(self, images: ImageStore) -> None:
        super().__init__([])
        self._images = images

    def size(self, image_id: str) -> tuple[int, int]:
        sizes = [self._images.size(part) for part in image_id.split(" ")]
        return sum(width for width, _ in sizes), max(height for _, height in sizes)

    def _decode(self, image_id: str) -> Image.Image:
        parts = [self._images.get(part) for part in image_id.split(" ")]
        joined = Image.new("RGB", self.size(image_id))
        left = 0
        for part in parts:
            joined.paste(part, (left, 0))
            left += part.width
        return joined


def _prediction(
    task: AskedTask, question: Row, student_set: str, dialect: str, prediction: str | None
) -> Row:
    return {
        "student_set": student_set,
        "task": task.name,
        "dialect": dialect,
        "question_id": question["question_id"],
        "group_id": question["group_id"],
        "prediction": prediction,
        "answer": question["answer"],
    }


def _scored(row: Row, question: Row, answers: Iterator[Any]) -> Row:
    if "error" in row:
        row.pop("error")
        return row | {"correct": False}
    output = next(answers)
    status = "ok" if output.error is None else "module_error"
    right = status == "ok" and correct(output.answer, question)
    return row | {"status": status, "prediction": to_json(output.answer), "correct": right}


def kinds(questions: Iterable[Row]) -> dict[str, list[str]]:
    """Question ids by kind, where `semantic` is ``{"kind": ...}`` (NLVR: tower, scatter)."""
    found: dict[str, list[str]] = {}
    for row in questions:
        semantic = json.loads(row["semantic"]) if row["semantic"] else None
        if isinstance(semantic, dict) and "kind" in semantic:
            found.setdefault(semantic["kind"], []).append(row["question_id"])
    return found
