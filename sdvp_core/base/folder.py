"""The tables of one task, found by name in its folder."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import ANNOTATIONS, IMAGES, PROGRAMS, QUESTIONS, stable_id
from sdvp_core.base.runtime import file_sha256
from sdvp_core.base.tables import chosen_rows, iterate_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class TaskFolder:
    """`data/<task>/` as `prepare` and `generate` leave it."""

    path: Path

    def questions(self, *splits: str) -> dict[str, Row]:
        """Question rows of some splits (all, when none is named), by question id."""
        rows = iterate_rows(self.path / "questions.parquet", QUESTIONS)
        return {row["question_id"]: row for row in rows if not splits or row["split"] in splits}

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

    def programs(self, questions: Collection[str], dialects: Collection[str]) -> list[Row]:
        """Program rows of these questions and dialects, in the order of the file."""
        return [
            row
            for row in iterate_rows(self.path / "programs.parquet", PROGRAMS)
            if row["question_id"] in questions and row["dialect"] in dialects
        ]


def images_of(questions: dict[str, Row]) -> set[str]:
    """Ids of every image some questions are asked of."""
    return {image_id for row in questions.values() for image_id in row["image_ids"]}
