"""What a student sees of an image: crops for vqa and match, views and tiles for locate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sdvp_core.modules.call import Box

GREY = 128  # what lies around a crop that does not fill its square


@dataclass(frozen=True, slots=True)
class Context:
    """How much of the surroundings a crop takes in: pixels plus a share of the longer side."""

    pixels: float = 0.0
    share: float = 0.0


def crop(image: Image.Image, region: Box, context: Context, side: int) -> np.ndarray:
    """A region with its context, its longer side scaled to ``side``, centred on a grey square.

    Returns uint8 (side, side, 3). The region is in pixels of the image; parts outside are cut off.
    """
    x0, y0, x1, y1 = region
    margin = context.pixels + context.share * max(x1 - x0, y1 - y0)
    box = _at_least_a_pixel((x0 - margin, y0 - margin, x1 + margin, y1 + margin), image.size)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels = np.full((side, side, 3), GREY, dtype=np.uint8)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    piece = image.resize(size, Image.Resampling.BILINEAR, box=box)
    pixels[top : top + size[1], left : left + size[0]] = np.asarray(piece)
    return pixels


@dataclass(frozen=True, slots=True)
class View:
    """A part of an image as the detector sees it.

    ``box`` is the part, in whole pixels of the image. ``span`` is how many pixels the view's width
    and height stand for (more than the box's where it is pasted on grey). ``cut`` tells which sides
    (left, top, right, bottom) cut through the region. Detections whose longer side is under
    ``smallest`` pixels are not believed.
    """

    box: tuple[int, int, int, int]
    span: tuple[float, float]
    cut: tuple[bool, bool, bool, bool] = (False, False, False, False)
    smallest: float = 0.0

    def pixels(self, image: Image.Image, side: int) -> np.ndarray:
        """uint8 (side, side, 3): the part, at the view's scale, in the top-left corner of grey."""
        width = round(side * (self.box[2] - self.box[0]) / self.span[0])
        height = round(side * (self.box[3] - self.box[1]) / self.span[1])
        size = (min(side, max(1, width)), min(side, max(1, height)))
        canvas = np.full((side, side, 3), GREY, dtype=np.uint8)
        piece = image.resize(size, Image.Resampling.BILINEAR, box=self.box)
        canvas[: size[1], : size[0]] = np.asarray(piece)
        return canvas

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) centre x, centre y, width, height in [0, 1] -> corners in pixels of the image."""
        span = np.array([*self.span, *self.span])
        center, half = boxes[:, :2], boxes[:, 2:] / 2
        corners = np.concatenate([center - half, center + half], axis=1) * span
        return corners + np.array([self.box[0], self.box[1], self.box[0], self.box[1]])

    def from_image(self, boxes: Sequence[Box]) -> np.ndarray:
        """Corners in pixels of the image -> (N, 4) centre x, y, width, height in [0, 1]."""
        corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        corners = corners - np.array([self.box[0], self.box[1], self.box[0], self.box[1]])
        corners = corners / np.array([*self.span, *self.span])
        size = corners[:, 2:] - corners[:, :2]
        return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, size], axis=1)

    def believed(self, boxes: np.ndarray, slack: float = 1.0) -> np.ndarray:
        """Which boxes (corners, pixels) are big enough and do not touch a side that cuts: (N,)."""
        size = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
        sides = np.array(self.box, dtype=np.float64)
        touching = np.abs(boxes - sides) <= slack
        touching |= np.stack([boxes[:, i] < sides[i] for i in (0, 1)]
                             + [boxes[:, i] > sides[i] for i in (2, 3)], axis=1)  # fmt: skip
        return (size >= self.smallest) & ~(touching & np.array(self.cut)).any(axis=1)


def views(
    region: Box, image_size: tuple[int, int], min_side: float, tile_aspect: float
) -> list[View]:
    """The views a detector needs of a region (pixels of the image), the widest first.

    A region under ``min_side`` keeps its scale and is pasted on grey; a larger one is padded to a
    square. One longer than ``tile_aspect`` times its short side is seen twice: squashed to a
    square, for what is bigger than half a tile, and in square tiles that overlap by half, for the
    rest. ``min_side`` 0 means that every region fills its view.
    """
    x0, y0, x1, y1 = _at_least_a_pixel(region, image_size)
    box = (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))
    width, height = box[2] - box[0], box[3] - box[1]
    short, long = sorted((width, height))
    if long <= max(min_side, tile_aspect * short):
        side = float(max(long, min_side))
        return [View(box, (side, side))]
    whole = View(box, (float(width), float(height)), smallest=short / 2)
    return [whole, *_tiles(box, float(max(short, min_side)))]


def _tiles(box: tuple[int, int, int, int], side: float) -> list[View]:
    along = 0 if box[2] - box[0] > box[3] - box[1] else 1
    first, last = box[along], box[along + 2]
    count = math.ceil((last - first - side) / (side / 2)) + 1
    starts = np.linspace(first, last - side, count).round().astype(int).tolist()
    found = []
    for start in starts:
        part, cut = list(box), [False] * 4
        part[along], part[along + 2] = start, min(last, start + round(side))
        cut[along], cut[along + 2] = start > first, part[along + 2] < last
        found.append(View(tuple(part), (side, side), tuple(cut)))
    return found


def _at_least_a_pixel(box: Box, size: tuple[int, int]) -> Box:
    x0, x1 = _inside(box[0], box[2], size[0])
    y0, y1 = _inside(box[1], box[3], size[1])
    return (x0, y0, x1, y1)


def _inside(low: float, high: float, limit: int) -> tuple[float, float]:
    low = min(max(low, 0.0), limit - 1.0)
    return low, max(min(high, float(limit)), low + 1.0)


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float) -> list[int]:
    """Greedy non-maximum suppression: indices kept, best first; ties go to the earlier box."""
    order = np.argsort(-scores, kind="stable").tolist()
    overlap = iou(boxes, boxes)
    kept: list[int] = []
    for index in order:
        if all(overlap[index, other] <= limit for other in kept):
            kept.append(index)
    return kept


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes given as corners: (N, 4), (M, 4) -> (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    area_first = (first[:, 2:] - first[:, :2]).prod(axis=-1)
    area_second = (second[:, 2:] - second[:, :2]).prod(axis=-1)
    return shared / np.maximum(area_first[:, None] + area_second[None] - shared, 1e-9)
