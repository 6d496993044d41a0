"""Reads TallyQA (Acharya et al. 2019) from ``train.json`` and ``test.json``, real or rendered.

Images lie beside them at the path each record gives (``VG_100K/1.jpg``), or in ``images``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.tasks import scene_graphs
from sdvp_core.tasks.images import ImageFile, with_suffix
from sdvp_core.tasks.source import TaskTables, json_entries, limited, need, official, split_of


def read(
    source: Path,
    task: str,
    seed: int = 0,
    shares: dict[str, float] | None = None,
    limits: dict[str, int] | None = None,
) -> TaskTables:
    """The three tables of a TallyQA folder.

    ``train.json`` is divided by image (``shares``), ``test.json`` is test. An image's id is its
    path without the suffix. ``UserError`` where neither file is there.
    """
    source = Path(source)
    parts = _parts(source)

    def questions() -> Iterator[dict[str, Any]]:
        rows = (row for path in parts for row in _questions(path, task, seed, shares))
        return limited(rows, limits)

    def photos(wanted: list[str]) -> Iterator[ImageFile]:
        return ((i, with_suffix(source, i) or with_suffix(source / "images", i)) for i in wanted)

    return scene_graphs.tables(source, task, questions, photos)


def files(source: Path) -> list[Path]:
    """The annotation files that are read; ``UserError`` where there is none with questions."""
    return [*_parts(source), *scene_graphs.files(source)]


def _parts(source: Path) -> list[Path]:
    need(source, "the official TallyQA folder")
    found = [path for name in ("train", "test") if (path := source / f"{name}.json").is_file()]
    if not found:
        raise UserError(f"{source} has neither train.json nor test.json: put TallyQA's there.")
    return found


def _questions(
    path: Path, task: str, seed: int, shares: dict[str, float] | None
) -> Iterator[dict[str, Any]]:
    for _, record in json_entries(path):
        with official(path):
            image_id = record["image"].rsplit(".", 1)[0]
            split = "test" if path.stem == "test" else split_of(image_id, shares, seed)
            yield {
                "question_id": f"{task}:{path.stem}:{record['question_id']}",
                "task": task,
                "split": split,
                "group_id": image_id,
                "image_ids": [image_id],
                "question": record["question"],
                "answer": str(record["answer"]),
                "answer_type": "number",
                "semantic": None,
            }
