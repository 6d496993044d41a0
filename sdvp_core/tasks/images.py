"""Rows of the images table from files, and what missing or broken ones mean for the questions."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from sdvp_core.base.runtime import log

Row = dict[str, Any]
ImageFile = tuple[str, Path | None]  # an image's id and its file, None where nobody knows one
# Images up to this many pixels a side travel inside the table; photos are referred to by path.
EMBEDDED_SIDE = 448
# Of data sets of photos, which are never copied: only the embedded world's pictures (100 px).
PHOTO_SIDE = 100
_BROKEN = (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)


def image_rows(
    files: Iterable[ImageFile],
    task: str,
    questions: Callable[[], Iterable[Row]],
    side: int = EMBEDDED_SIDE,
) -> Iterator[Row]:
    """Rows of the images table. Where files are missing or broken, one line of the log says how
    many, and what share of each split's questions has all of its images.
    """
    unusable: dict[str, str] = {}
    total = 0
    for image_id, path in files:
        total += 1
        row = image_row(image_id, path, side)
        if row["status"] != "ok":
            unusable[image_id] = row["status"]
        yield row
    if unusable:
        log.warning("%s: %s", task, unusable_images(total, unusable, questions()))


def unusable_images(total: int, statuses: Mapping[str, str], questions: Iterable[Row]) -> str:
    """What ``statuses`` (by image id, of those that are not ok) mean for the questions."""
    counts = Counter(statuses.values())
    asked: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for row in questions:
        asked[row["split"]] += 1
        whole[row["split"]] += not any(i in statuses for i in row["image_ids"])
    kinds = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    shares = ", ".join(
        f"{split} {whole[split]} of {asked[split]} ({100 * whole[split] / asked[split]:.1f} %)"
        for split in sorted(asked)
    )
    return (
        f"{len(statuses)} of {total} images cannot be used ({kinds}); questions with all: {shares}"
    )


def image_row(image_id: str, path: Path | None, side: int = EMBEDDED_SIDE) -> Row:
    """A row of the images table. A missing or broken file gives a row with that status.

    Images of at most ``side`` pixels a side are embedded, others referred to by path.
    """
    if path is None or not path.is_file():
        return _without_image(image_id, "missing", f"no file {path.name if path else image_id}")
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            # A JPEG decodes at an eighth of its size here: enough to notice a cut file.
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
    except _BROKEN as error:
        return _without_image(image_id, "corrupt", f"{path.name}: {error}")
    embedded = max(width, height) <= side
    return {
        "image_id": image_id,
        "bytes": data if embedded else None,
        "path": None if embedded else str(path.resolve()),
        "width": width,
        "height": height,
        "sha256": hashlib.sha256(data).hexdigest(),
        "status": "ok",
        "message": None,
    }


def with_suffix(folder: Path, name: str) -> Path | None:
    """The image of that name in a folder, whatever its format; None where there is none."""
    for suffix in (".jpg", ".png", ".jpeg", ""):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    return None


def _without_image(image_id: str, status: str, message: str) -> dict[str, Any]:
    return {
        **{"image_id": image_id, "bytes": None, "path": None, "width": 0, "height": 0},
        **{"sha256": None, "status": status, "message": message},
    }
