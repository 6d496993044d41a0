"""Reads NLVR2 (Suhr, Zhou et al. 2019) from its JSON lines, real or rendered.

A folder holds ``train.json``, ``dev.json``, ``test1.json`` (or the folder ``data`` with them) and
``images/<split>-<set>-<pair>-img0.png`` and ``-img1.png``, in sub-folders or not: the official
download has ``images/train/<directory>/``, ``dev/`` and ``test1/``.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.tables import read_jsonl
from sdvp_core.tasks import scene_graphs
from sdvp_core.tasks.source import (
    TaskTables,
    image_ids,
    image_row,
    limited,
    need,
    split_of,
    with_suffix,
)

_FILES = ("train.json", "dev.json", "test1.json", "test.json")


def read(
    source: Path,
    task: str,
    seed: int = 0,
    shares: dict[str, float] | None = None,
    limits: dict[str, int] | None = None,
) -> TaskTables:
    """The three tables of an NLVR2 folder.

    ``train.json`` is divided into train, distill and val by set (``shares``, by hash of the set);
    ``dev.json`` is val where there is a test file and test otherwise, for many have dev only.
    A group is a set: all pairs of images found for one search, with all their sentences.
    ``UserError`` where there is none of the files.
    """
    source = Path(source)
    files = _files(source)
    options = {"task": task, "seed": seed, "shares": shares}
    dev = "val" if any(path.name.startswith("test") for path in files) else "test"

    def questions() -> Iterator[dict[str, Any]]:
        rows = (row for path in files for row in _questions(path, dev=dev, **options))
        return limited(rows, limits)

    wanted = cache(lambda: image_ids(questions))
    return TaskTables(questions(), _images(source, wanted), _annotations(source, wanted))


def _files(source: Path) -> list[Path]:
    need(source, "the official NLVR2 folder")
    found = [
        path
        for folder in (source, source / "data")
        for name in _FILES
        if (path := folder / name).is_file()
    ]
    if not found:
        raise UserError(f"{source} has none of {', '.join(_FILES)}: put NLVR2's files there.")
    return found


def _questions(
    path: Path, task: str, seed: int, shares: dict[str, float] | None, dev: str
) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(read_jsonl(path), 1):
        try:
            identifier, sentence = record["identifier"], record["sentence"]
            official, group, pair, _ = identifier.rsplit("-", 3)
            label = str(record["label"]).lower()
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}:{number} is no NLVR2 record ({error!r}).") from error
        # Sets are numbered anew in each official split.
        group_id = f"{official}-{group}"
        split = {"train": split_of(group_id, shares, seed), "dev": dev}.get(official, "test")
        yield {
            "question_id": f"{task}:{identifier}",
            "task": task,
            "split": split,
            "group_id": group_id,
            "image_ids": [f"{group_id}-{pair}-img{side}" for side in range(2)],
            "question": sentence,
            "answer": label,
            "answer_type": "truth",
            "semantic": None,
        }


def _images(source: Path, wanted: Any) -> Iterator[dict[str, Any]]:
    nested = {path.stem: path for path in sorted((source / "images").glob("*/**/*.png"))}
    for image_id in wanted():
        path = with_suffix(source / "images", image_id) or nested.get(image_id)
        yield image_row(image_id, path)


def _annotations(source: Path, wanted: Any) -> Iterator[dict[str, Any]]:
    yield from scene_graphs.annotations(source, wanted())
