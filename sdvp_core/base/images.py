"""Images by id, from the `images` table or from a folder, decoded on demand."""

import io
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from PIL import Image

from sdvp_core.base.records import IMAGES
from sdvp_core.base.tables import chosen_rows, iterate_rows

# Of decoded pixels: 17,000 images of the embedded world or 580 photos of 640 x 480, which is more
# than the programs that run at once look at, and little beside the models.
CACHED_BYTES = 512 * 2**20


class ImageError(Exception):
    """An image that is missing or will not decode: a row's status, never the end of a run."""


class ImageStore:
    """Decoded RGB images by id, the last ``capacity`` bytes of pixels of them kept.

    ``get`` raises :class:`ImageError` for an unknown id and for an image that will not decode.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], capacity: int = CACHED_BYTES) -> None:
        self._rows = {row["image_id"]: row for row in rows}
        self._capacity = capacity
        self._decoded: OrderedDict[str, Image.Image] = OrderedDict()
        self._held = 0  # bytes of pixels
        self._lock = RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"rows": self._rows, "capacity": self._capacity}  # locks stay in their process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["rows"].values(), state["capacity"])

    def only(self, image_ids: Collection[str]) -> "ImageStore":
        """A store of the images of those ids that are here."""
        return ImageStore([r for i, r in self._rows.items() if i in image_ids], self._capacity)

    @classmethod
    def from_table(cls, *paths: Path) -> "ImageStore":
        """The images of one or more `images.parquet` files."""
        return cls(row for path in paths for row in iterate_rows(path, IMAGES))

    def row(self, image_id: str) -> Mapping[str, Any]:
        """The row of the images table."""
        return self._rows[image_id]

    def joined(self, other: "ImageStore") -> "ImageStore":
        """A store of the images of both."""
        return ImageStore([*other._rows.values(), *self._rows.values()], self._capacity)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._rows

    def get(self, image_id: str) -> Image.Image:
        """The decoded image, mode RGB."""
        with self._lock:  # forwards run in a thread of their own
            if image_id in self._decoded:
                self._decoded.move_to_end(image_id)
                return self._decoded[image_id]
            image = self._decode(image_id)
            self._decoded[image_id] = image
            self._held += _pixel_bytes(image)
            while self._held > self._capacity and len(self._decoded) > 1:
                self._held -= _pixel_bytes(self._decoded.popitem(last=False)[1])
            return image

    def size(self, image_id: str) -> tuple[int, int]:
        """Width and height in pixels."""
        row = self._rows.get(image_id)
        if row is not None and row.get("width") and row.get("status", "ok") == "ok":
            return int(row["width"]), int(row["height"])
        return self.get(image_id).size

    def _decode(self, image_id: str) -> Image.Image:
        row = self._rows.get(image_id)
        if row is None:
            raise ImageError(f"image {image_id!r} is not in the images table")
        if row.get("status", "ok") != "ok":
            raise ImageError(f"image {image_id!r} is {row['status']}: {row.get('message')}")
        source = io.BytesIO(row["bytes"]) if row.get("bytes") is not None else row["path"]
        try:
            return Image.open(source).convert("RGB")
        except Exception as error:  # a foreign file can bring any decoder to raise anything
            reason = f"{type(error).__name__}: {error}"
            raise ImageError(f"image {image_id!r} cannot be decoded: {reason}") from error


@dataclass(frozen=True)
class ImageTable:
    """An `images.parquet` of which nothing is held: rows are read for the images asked for."""

    path: Path

    def only(self, image_ids: Collection[str]) -> ImageStore:
        """A store of the images of those ids that are in the table."""
        return ImageStore(chosen_rows(self.path, IMAGES, "image_id", image_ids))


def _pixel_bytes(image: Image.Image) -> int:
    return 3 * image.width * image.height
