"""The tables of one task, found by name in its folder."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore, ImageTable
from sdvp_core.base.records import ANNOTATIONS, IMAGES, PROGRAMS, QUESTIONS, stable_id
from sdvp_core.base.runtime import file_sha256
from sdvp_core.base.tables import chosen_rows, iterate_rows

Row = dict[str, Any]
Asked = tuple[Row, Row]  # a program and its question


@dataclass(frozen=True)
class TaskFolder:
    """`data/<task>/` as `prepare` and `generate` leave it."""

    path: Path

    def questions(self, *splits: str) -> dict[str, Row]:
        """Question rows of some splits (all, when none is named), by question id: all held."""
        return {row["question_id"]: row for row in self.question_rows(*splits)}

    def question_rows(self, *splits: str) -> Iterator[Row]:
        """Question rows of some splits (all, when none is named), in the order of the file."""
        rows = iterate_rows(self.path / "questions.parquet", QUESTIONS)
        return (row for row in rows if not splits or row["split"] in splits)

    def revision(self, *tables: str) -> str:
        """16 hex digits that change with any byte of these tables ("questions", ...).

        The images table holds a picture's bytes, or their checksum where it holds a path: another
        picture under the same id is another revision, once `prepare` has seen it.
        """
        return stable_id([file_sha256(self.path / f"{name}.parquet") for name in tables])

    def groups(self, *splits: str) -> dict[str, str]:
        """The group of each question of some splits, by question id: all of it that is held."""
        columns = ["question_id", "group_id", "split"]
        rows = iterate_rows(self.path / "questions.parquet", QUESTIONS, columns)
        return {row["question_id"]: row["group_id"] for row in rows if row["split"] in splits}

    def image_ids(self, *splits: str) -> set[str]:
        """Ids of every image the questions of some splits are asked of."""
        rows = iterate_rows(self.path / "questions.parquet", QUESTIONS, ["image_ids", "split"])
        return {image_id for row in rows if row["split"] in splits for image_id in row["image_ids"]}

    def images(self, image_ids: Collection[str] | None = None) -> ImageStore:
        """The images (all, or those named), decoded on demand."""
        return ImageStore(chosen_rows(self.path / "images.parquet", IMAGES, "image_id", image_ids))

    def annotations(self, image_ids: Collection[str] | None = None) -> Iterator[Row]:
        """Annotation rows, of some images or of all, in the order of the file."""
        path = self.path / "annotations.parquet"
        yield from chosen_rows(path, ANNOTATIONS, "image_id", image_ids)

    @property
    def image_table(self) -> ImageTable:
        """The images, their rows read when they are asked for."""
        return ImageTable(self.path / "images.parquet")

    def programs(self, questions: Collection[str], dialects: Collection[str]) -> Iterator[Row]:
        """Program rows of these questions and dialects, in the order of the file."""
        for row in iterate_rows(self.path / "programs.parquet", PROGRAMS):
            if row["question_id"] in questions and row["dialect"] in dialects:
                yield row

    def asked(self, split: str, dialects: Collection[str]) -> Iterator[Asked]:
        """Programs of a split and some dialects, each with its question, in the order of the file.

        Two files are read side by side and one row of each is held: `generate` writes the programs
        in the order of their questions. Raises ``UserError`` where they are not in that order.
        """
        return self._merged(split, dialects, None, None)

    def count_asked(self, split: str, dialects: Collection[str]) -> int:
        """How many programs :meth:`asked` gives."""
        columns = ["question_id", "split"], ["question_id", "dialect"]
        return sum(1 for _ in self._merged(split, dialects, *columns))

    def _merged(
        self,
        split: str,
        dialects: Collection[str],
        question_columns: list[str] | None,
        program_columns: list[str] | None,
    ) -> Iterator[Asked]:
        paths = self.path / "programs.parquet", self.path / "questions.parquet"
        questions = iterate_rows(paths[1], QUESTIONS, question_columns)
        question: Row = {"question_id": None}
        for program in iterate_rows(paths[0], PROGRAMS, program_columns):
            name = program["question_id"]
            if name != question["question_id"]:
                question = next((row for row in questions if row["question_id"] == name), None)
            if question is None:
                raise UserError(
                    f"{paths[0]} has programs for {name!r}, which {paths[1]} does not name in the "
                    "same order: run the stage `generate` again."
                )
            if question["split"] == split and program["dialect"] in dialects:
                yield program, question


def images_of(questions: dict[str, Row]) -> set[str]:
    """Ids of every image some questions are asked of."""
    return {image_id for row in questions.values() for image_id in row["image_ids"]}
