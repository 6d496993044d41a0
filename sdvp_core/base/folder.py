"""The tables of one task, found by name in its folder."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import ANNOTATIONS, PROGRAMS, QUESTIONS
from sdvp_core.base.tables import iterate_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class TaskFolder:
    """`data/<task>/` as `prepare` and `generate` leave it."""

    path: Path

    def questions(self, *splits: str) -> dict[str, Row]:
        """Question rows of some splits (all, when none is named), by question id."""
        rows = iterate_rows(self.path / "questions.parquet", QUESTIONS)
        return {row["question_id"]: row for row in rows if not splits or row["split"] in splits}

    def images(self) -> ImageStore:
        """The images, decoded on demand."""
        return ImageStore.from_table(self.path / "images.parquet")

    def annotations(self, image_ids: Collection[str] | None = None) -> Iterator[Row]:
        """Annotation rows, of some images or of all."""
        for row in iterate_rows(self.path / "annotations.parquet", ANNOTATIONS):
            if image_ids is None or row["image_id"] in image_ids:
                yield row

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
