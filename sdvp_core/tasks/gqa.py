"""Reads GQA (Hudson and Manning 2019) from its official files, real or rendered.

A folder holds ``train_balanced_questions.json``, ``val_...``, ``testdev_...`` (or the folder
``questions1.2`` or ``questions`` with them), ``*sceneGraphs.json`` (or the folder ``sceneGraphs``),
and ``images/<imageId>.jpg``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import to_json
from sdvp_core.tasks import scene_graphs
from sdvp_core.tasks.images import PHOTO_SIDE, ImageFile, with_suffix
from sdvp_core.tasks.source import TaskTables, json_entries, limited, need, official, split_of

_FOLDERS = ("", "questions1.2", "questions")


def read(
    source: Path,
    task: str,
    seed: int = 0,
    shares: dict[str, float] | None = None,
    limits: dict[str, int] | None = None,
) -> TaskTables:
    """The three tables of a GQA folder.

    Files named ``train*`` are divided into train, distill and val by image (``shares``, by hash
    of the image id), ``val*`` is val, every other question file is test. Questions without an
    answer (the challenge) are left out. ``UserError`` where there is no question file.
    """
    source = Path(source)
    files = _question_files(source)
    options = {"task": task, "seed": seed, "shares": shares}

    def questions() -> Iterator[dict[str, Any]]:
        return limited((row for path in files for row in _questions(path, **options)), limits)

    def photos(wanted: list[str]) -> Iterator[ImageFile]:
        return ((i, with_suffix(source / "images", i)) for i in wanted)

    return scene_graphs.tables(source, task, questions, photos, PHOTO_SIDE)


def files(source: Path) -> list[Path]:
    """The annotation files that are read; ``UserError`` where there is no question file."""
    return [*_question_files(source), *scene_graphs.files(source)]


def _question_files(source: Path) -> list[Path]:
    need(source, "the official GQA folder")
    found = [
        path
        for folder in _FOLDERS
        for path in sorted((source / folder).glob("*questions*.json"))
        if path.is_file() and "_all_" not in path.name  # the balanced files are a part of these
    ]
    if not found:
        raise UserError(
            f"{source} has no *questions*.json: put GQA's train_balanced_questions.json and "
            "testdev_balanced_questions.json there."
        )
    return found


def _questions(
    path: Path, task: str, seed: int, shares: dict[str, float] | None
) -> Iterator[dict[str, Any]]:
    official_split = path.name.split("_")[0]
    for question_id, record in json_entries(path):
        if "answer" in record:
            with official(path):
                yield _row(question_id, record, official_split, task, seed, shares)


def _row(
    question_id: str,
    record: dict[str, Any],
    official_split: str,
    task: str,
    seed: int,
    shares: dict[str, float] | None,
) -> dict[str, Any]:
    image_id = str(record["imageId"])
    split = "val" if official_split == "val" else "test"
    if official_split == "train":
        split = split_of(image_id, shares, seed)
    semantic = record.get("semantic")
    return {
        "question_id": f"{task}:{official_split}:{question_id}",
        "task": task,
        "split": split,
        "group_id": image_id,
        "image_ids": [image_id],
        "question": record["question"],
        "answer": record["answer"],
        "answer_type": "yesno" if record["answer"] in ("yes", "no") else "word",
        "semantic": None if semantic is None else to_json(semantic),
    }
