"""What the teacher looks at: a region of an image as pixels of a fixed size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sdvp_core.base.sample import Box

CROP = 48  # px, the side of a view of a thing
WIDE = 96  # px, the shorter side of a view of a scene
SCENE = 0.62  # a region longer than this share of the image's shorter side is a scene
_GREY = (127, 127, 127)
_MARK = (255, 0, 255)  # a colour that is rare in photos and in the embedded world


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a region of an image comes to lie in its view: box in the image, size of the view."""

    box: Box
    size: tuple[int, int]

    @property
    def scale(self) -> float:
        """Pixels of the view for one of the image."""
        return min(
            self.size[0] / (self.box[2] - self.box[0]), self.size[1] / (self.box[3] - self.box[1])
        )

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height of the part of the view that is not grey."""
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        return (
            min(self.size[0], max(1, round(width * self.scale))),
            min(self.size[1], max(1, round(height * self.scale))),
        )

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point of the image in pixels of the view."""
        left, top = self.corner
        return left + (x - self.box[0]) * self.scale, top + (y - self.box[1]) * self.scale

    @property
    def corner(self) -> tuple[int, int]:
        """Where the part that is not grey begins."""
        return (self.size[0] - self.inner[0]) // 2, (self.size[1] - self.inner[1]) // 2


def frame(size: tuple[int, int], region: Box | None = None) -> Frame:
    """The frame of a region of an image of a size (width, height); see :func:`view`."""
    box = _within(region or (0, 0, *size), size)
    width, height = box[2] - box[0], box[3] - box[1]
    if max(width, height) <= SCENE * min(size):
        return Frame(box, (CROP, CROP))
    if width >= height:
        return Frame(box, (WIDE * min(4, max(1, round(width / height))), WIDE))
    return Frame(box, (WIDE, WIDE * min(4, max(1, round(height / width)))))


def view(image: Image.Image, region: Box | None = None, drawn: Box | None = None) -> np.ndarray:
    """A region of an image (the whole one by default) as (height, width, 3) bytes.

    A small region becomes CROP x CROP; a large one WIDE px high and 1, 2, 3 or 4 times as wide (or
    the other way round), whichever is nearest. Its proportions are kept, the rest is grey.
    ``drawn`` is a box in pixels of the image that is outlined in magenta.
    """
    return np.asarray(_fitted(image, frame(image.size, region), drawn))


def pair_view(first: Image.Image, second: Image.Image) -> np.ndarray:
    """Two whole photos side by side: (WIDE, 2 * WIDE, 3) bytes."""
    sides = [
        _fitted(image, Frame((0, 0, *image.size), (WIDE, WIDE)), None) for image in (first, second)
    ]
    return np.concatenate([np.asarray(side) for side in sides], axis=1)


def whole_view(images: Sequence[Image.Image]) -> np.ndarray:
    """The view of everything a question is asked of: one image, or the first two side by side."""
    return view(images[0]) if len(images) == 1 else pair_view(images[0], images[1])


def _fitted(image: Image.Image, frame: Frame, drawn: Box | None) -> Image.Image:
    # BILINEAR averages when it shrinks and takes a box of fractions of pixels.
    small = image.resize(frame.inner, Image.Resampling.BILINEAR, box=frame.box)
    if frame.inner != frame.size:
        canvas = Image.new("RGB", frame.size, _GREY)
        canvas.paste(small, frame.corner)
        small = canvas
    if drawn is not None:
        x0, y0 = frame.place(drawn[0], drawn[1])
        x1, y1 = frame.place(drawn[2], drawn[3])
        ImageDraw.Draw(small).rectangle((x0 - 1, y0 - 1, x1, y1), outline=_MARK)
    return small


def _within(box: Sequence[float], size: tuple[int, int]) -> Box:
    """The box clipped to the image, a pixel wide and high at the least."""
    x0 = min(max(float(box[0]), 0.0), size[0] - 1.0)
    y0 = min(max(float(box[1]), 0.0), size[1] - 1.0)
    x1 = min(max(float(box[2]), x0 + 1.0), float(size[0]))
    y1 = min(max(float(box[3]), y0 + 1.0), float(size[1]))
    return (x0, y0, x1, y1)
