"""Runs that are scored: programs over any modules, and models asked the whole question."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sdvp_core.base.folder import TaskFolder, images_of
from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.records import to_json
from sdvp_core.evaluate.score import correct
from sdvp_core.interpreter.rows import Execution, execute_programs
from sdvp_core.interpreter.scheduler import Limits
from sdvp_core.modules.call import Call, Module

Row = dict[str, Any]


@dataclass(frozen=True)
class AskedTask:
    """The evaluated questions of a task with their programs and images."""

    name: str
    scene: str
    questions: Mapping[str, Row]
    programs: list[Row]
    images: ImageStore
    annotations: list[Row]
    revision: str  # of questions, images and programs, whatever changes a row

    @classmethod
    def load(
        cls, name: str, folder: TaskFolder, scene: str, dialects: Iterable[str], split: str = "test"
    ) -> "AskedTask":
        """Questions of one split and what belongs to them."""
        questions = folder.questions(split)
        programs = folder.programs(questions, set(dialects))
        annotations = list(folder.annotations(images_of(questions)))
        revision = folder.revision("questions", "images", "programs")
        return cls(name, scene, questions, programs, folder.images(), annotations, revision)


def run_programs(
    task: AskedTask,
    modules: Mapping[str, Module],
    student_set: str,
    limits: Limits,
    held: int,
    shards: Path,
) -> Iterator[tuple[Row, list[Row]]]:
    """Every program of the task over one set of modules: its prediction and the steps it took.

    Rows carry ``student_set`` as it is. Run again with equal ``shards``, it reads them back.
    """
    execution = Execution(modules, student_set, task.images, task.scene, limits, held)
    for row in execute_programs(task.programs, task.questions, execution, correct, shards):
        done = row["execution"]
        question = task.questions[done["question_id"]]
        prediction = _prediction(task, question, student_set, done["dialect"], done["answer"])
        outcome = {key: done[key] for key in ("program_id", "status", "correct")}
        yield prediction | outcome, row["steps"]


def ask_whole(task: AskedTask, vqa: Module, student_set: str, dialect: str) -> list[Row]:
    """One model asked every question of the task itself: no program, the whole image.

    A pair of photos is shown side by side. A task whose answers are boxes cannot be asked so and
    has no rows. ``dialect`` is `bare_student` or `bare_teacher`.
    """
    asked = [row for row in task.questions.values() if row["answer_type"] != "box"]
    whole = _WholeImages(task.images)
    calls, rows = [], []
    for question in asked:
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
    return [_scored(row, task, answers) for row in rows]


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


def _scored(row: Row, task: AskedTask, answers: Iterator[Any]) -> Row:
    if "error" in row:
        row.pop("error")
        return row | {"correct": False}
    output = next(answers)
    status = "ok" if output.error is None else "module_error"
    right = status == "ok" and correct(output.answer, task.questions[row["question_id"]])
    return row | {"status": status, "prediction": to_json(output.answer), "correct": right}


def kinds(questions: Mapping[str, Row]) -> dict[str, list[str]]:
    """Question ids by kind, where `semantic` is ``{"kind": ...}`` (NLVR: tower, scatter)."""
    found: dict[str, list[str]] = {}
    for question_id, row in questions.items():
        semantic = json.loads(row["semantic"]) if row["semantic"] else None
        if isinstance(semantic, dict) and "kind" in semantic:
            found.setdefault(semantic["kind"], []).append(question_id)
    return found
