"""Reads NLVR2 (Suhr, Zhou et al. 2019) from its JSON lines, real or rendered.

A folder holds ``train.json``, ``dev.json``, ``test1.json`` (or the folder ``data`` with them) and
``images/<split>-<set>-<pair>-img0.png`` and ``-img1.png``, in sub-folders or not: the official
download has ``images/train/<directory>/``, ``dev/`` and ``test1/``.

Which statements are read is said by the folder: the official ``data/balanced`` (or ``unbalanced``)
holds ``balanced_dev.json`` and ``balanced_test1.json``, parts of dev and test1 under their own
identifiers; ``train.json`` and ``images`` are then found in the folders above as well.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.tables import read_jsonl
from sdvp_core.tasks import scene_graphs
from sdvp_core.tasks.images import PHOTO_SIDE, ImageFile, with_suffix
from sdvp_core.tasks.source import TaskTables, limited, need, split_of

_FILES = ("train.json", "dev.json", "test1.json", "test.json")
_PARTS = ("balanced", "unbalanced")  # official subsets of dev and test1, a folder each


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
    A group is a set: all pairs of images found for one search, with all their sentences. Pairs of
    a set share photos and sentences, so neither a split nor a bootstrap may take them apart.
    ``UserError`` where there is none of the files.
    """
    source = Path(source)
    parts = _files(source)
    options = {"task": task, "seed": seed, "shares": shares}
    dev = "val" if any("test" in path.name for path in parts) else "test"

    def questions() -> Iterator[dict[str, Any]]:
        rows = (row for path in parts for row in _questions(path, dev=dev, **options))
        return limited(rows, limits)

    return scene_graphs.tables(source, task, questions, partial(_photos, source), PHOTO_SIDE)


def files(source: Path) -> list[Path]:
    """The annotation files that are read; ``UserError`` where there is none with statements."""
    return [*_files(source), *scene_graphs.files(source)]


def _files(source: Path) -> list[Path]:
    need(source, "the official NLVR2 folder")
    whole = [folder / name for folder in (source, source / "data") for name in _FILES]
    if found := [path for path in whole if path.is_file()]:
        return found
    for part in _PARTS:
        held = [path for name in _FILES if (path := source / f"{part}_{name}").is_file()]
        if held:
            train = source.parent / "train.json"
            return [train, *held] if train.is_file() else held
    raise UserError(f"{source} has none of {', '.join(_FILES)}: put NLVR2's files there.")


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


def _photos(source: Path, wanted: list[str]) -> Iterator[ImageFile]:
    above = (folder / "images" for folder in (source, *source.resolve().parents[:2]))
    folder = next((images for images in above if images.is_dir()), source / "images")
    nested = {path.stem: path for path in sorted(folder.glob("*/**/*.png"))}
    for image_id in wanted:
        yield image_id, with_suffix(folder, image_id) or nested.get(image_id)
