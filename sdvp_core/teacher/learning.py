"""What the box teacher learns from: pictures, target maps, the loss; and how well it finds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sdvp_core.base.compare import matched
from sdvp_core.base.images import ImageStore
from sdvp_core.tasks.descriptions import describe
from sdvp_core.teacher.answers import CELL
from sdvp_core.teacher.boxes import LARGE, STRIDES, BoxConfig
from sdvp_core.teacher.examples import Ask
from sdvp_core.teacher.model import Teacher
from sdvp_core.teacher.views import frame
from sdvp_core.teacher.words import words_of

Thing = Mapping[str, Any]
SPREAD = 0.7  # cells, of the heat around a centre
_MOST_HEADS = 300
TELL = 8.0  # weight of the words told of cells, beside the answers


def heads_in(rows: Sequence[Mapping[str, Any]], least: int = 3) -> tuple[str, ...]:
    """The words of names, categories and attributes that occur often enough to be learnt."""
    counts = Counter(word for row in rows for thing in row["objects"] for word in true_words(thing))
    common = [word for word, count in counts.most_common(_MOST_HEADS) if count >= least]
    return tuple(sorted(common or counts))


def true_words(thing: Thing) -> list[str]:
    """Every word that is true of a thing, once each."""
    texts = (thing["name"], *thing["categories"], *thing["attributes"])
    return sorted({word for text in texts for word in words_of(text)})


@dataclass(frozen=True)
class Labelled:
    """A thing as the network sees it: box in network pixels, 0/1 for every head."""

    box: tuple[float, float, float, float]
    words: np.ndarray


class Pictures:
    """The images of some annotation rows with their things; half of them mirrored."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], images: ImageStore, config: BoxConfig
    ) -> None:
        self._rows, self._images, self._config = rows, images, config
        self._places = {word: place for place, word in enumerate(config.heads)}

    def get(self, index: int, rng: Random) -> tuple[np.ndarray, list[Labelled]]:
        """Pixels (height, width, 3) of one image, shrunk if need be, and its things."""
        row = self._rows[index]
        image = self._images.get(row["image_id"])
        scale = min(1.0, self._config.longest / max(image.size))
        if scale < 1:
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.BILINEAR)
        pixels, mirror = np.asarray(image), rng.random() < 0.5
        if mirror:
            pixels = pixels[:, ::-1]
        return pixels, [self._labelled(t, scale, image.width if mirror else 0)
                        for t in row["objects"]]  # fmt: skip

    def _labelled(self, thing: Thing, scale: float, mirrored: int) -> Labelled:
        words = np.zeros(len(self._places), np.float32)
        for word in true_words(thing):
            if word in self._places:
                words[self._places[word]] = 1
        x0, y0, x1, y1 = (c * scale for c in thing["box"])
        if mirrored:
            x0, x1 = mirrored - x1, mirrored - x0
        return Labelled((x0, y0, x1, y1), words)


class Told:
    """What stands in the cells of views: a second task for the answer teacher's eyes.

    Questions alone teach them slowly: telling the words of every annotated thing at the cell of its
    centre is the same annotation, and five times quicker.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], heads: Sequence[str]) -> None:
        places = {word: place for place, word in enumerate(heads)}
        self._things: dict[str, list[tuple[float, float, list[int]]]] = {}
        for row in rows:
            self._things[row["image_id"]] = [
                (
                    *((t["box"][0] + t["box"][2]) / 2, (t["box"][1] + t["box"][3]) / 2),
                    [places[word] for word in true_words(t) if word in places],
                )
                for t in row["objects"]
            ]

    def loss(self, words: Tensor, asks: Sequence[Ask], images: ImageStore) -> Tensor:
        """Binary cross-entropy of the words (B, K, H, W) at the centres of the things in view."""
        cells, hot = [], []
        for number, ask in enumerate(asks):
            if len(ask.image_ids) > 1:
                continue
            around = frame(images.size(ask.image_ids[0]), ask.region)
            for x, y, true in self._things.get(ask.image_ids[0], ()):
                if around.box[0] < x < around.box[2] and around.box[1] < y < around.box[3]:
                    near = _cells_near(*around.place(x, y), words.shape[2], words.shape[3])
                    cells += [(number, line, column) for line, column in near]
                    hot += [true] * len(near)
        if not cells:
            return words.sum() * 0
        number, line, column = torch.tensor(cells).T
        wanted = torch.zeros(len(cells), words.shape[1])
        for target, true in zip(wanted, hot, strict=True):
            target[true] = 1
        at = words[number, :, line, column]
        return TELL * functional.binary_cross_entropy_with_logits(at, wanted)


def _cells_near(x: float, y: float, height: int, width: int) -> list[tuple[int, int]]:
    """The four cells (line, column) around a point of a view: a crop's middle is a corner."""
    column, line = int(x / CELL - 0.5), int(y / CELL - 0.5)
    lines = {min(max(i, 0), height - 1) for i in (line, line + 1)}
    columns = {min(max(j, 0), width - 1) for j in (column, column + 1)}
    return [(i, j) for i in sorted(lines) for j in sorted(columns)]


@dataclass(frozen=True)
class Target:
    """Of one stride: heat (B, 1, H, W), and for P labelled cells their place, sides and words."""

    heat: Tensor
    cells: tuple[Tensor, Tensor, Tensor]  # image, row, column: (P,) each
    sides: Tensor  # (P, 4), in cells
    words: Tensor  # (P, K)


def targets(
    batch: Sequence[Sequence[Labelled]], shapes: Sequence[Sequence[int]], config: BoxConfig
) -> list[Target]:
    """What the maps of each stride should hold for a batch of labelled images."""
    return [
        _target(batch, stride, tuple(shape), len(config.heads))
        for stride, shape in zip(STRIDES, shapes, strict=True)
    ]


def _target(
    batch: Sequence[Sequence[Labelled]], stride: int, shape: tuple[int, int], heads: int
) -> Target:
    height, width = shape
    heat = np.zeros((len(batch), 1, height, width), np.float32)
    where, sides, words = [], [], []
    ys, xs = np.arange(height) + 0.5, np.arange(width) + 0.5
    for number, things in enumerate(batch):
        owner: dict[tuple[int, int], tuple[float, Labelled]] = {}
        for thing in things:
            x0, y0, x1, y1 = (c / stride for c in thing.box)
            if (max(x1 - x0, y1 - y0) * stride > LARGE) != (stride == STRIDES[-1]):
                continue
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            column, line = min(int(x), width - 1), min(int(y), height - 1)
            bump = np.exp(-((xs[None] - x) ** 2 + (ys[:, None] - y) ** 2) / (2 * SPREAD**2))
            bump[line, column] = 1
            heat[number, 0] = np.maximum(heat[number, 0], bump)
            for i in range(max(0, line - 1), min(height, line + 2)):
                for j in range(max(0, column - 1), min(width, column + 2)):
                    away = (j + 0.5 - x) ** 2 + (i + 0.5 - y) ** 2
                    if (i, j) not in owner or away < owner[i, j][0]:
                        owner[i, j] = (away, thing)
        for (i, j), (_, thing) in owner.items():
            x0, y0, x1, y1 = (c / stride for c in thing.box)
            where.append((number, i, j))
            sides.append((j + 0.5 - x0, i + 0.5 - y0, x1 - j - 0.5, y1 - i - 0.5))
            words.append(thing.words)
    places = torch.tensor(where, dtype=torch.long).reshape(-1, 3)
    return Target(
        torch.from_numpy(heat),
        (places[:, 0], places[:, 1], places[:, 2]),
        torch.tensor(sides, dtype=torch.float32).reshape(-1, 4),
        torch.from_numpy(np.array(words, np.float32)).reshape(-1, heads),
    )


def box_loss(maps: Sequence[Tensor], wanted: Sequence[Target]) -> Tensor:
    """Focal loss of the heat + L1 of the sides (in cells) + cross-entropy of the words.

    The focal loss is arXiv 1904.07850, equation 1. Each term is a mean over things or cells.
    """
    total = maps[0].new_zeros(())
    for found, target in zip(maps, wanted, strict=True):
        heat, logit = target.heat, found[:, :1]
        p = logit.sigmoid()
        hit = -((1 - p) ** 2) * functional.logsigmoid(logit) * (heat == 1)
        miss = -((1 - heat) ** 4) * p**2 * functional.logsigmoid(-logit) * (heat < 1)
        total = total + (hit.sum() + miss.sum()) / max(1.0, float((heat == 1).sum()))
        if not len(target.sides):
            continue
        image, line, column = target.cells
        at = found[image, :, line, column]
        total = total + functional.l1_loss(at[:, 1:5], target.sides)
        total = total + 4 * functional.binary_cross_entropy_with_logits(at[:, 5:], target.words)
    return total


def measure_boxes(
    teacher: Teacher,
    rows: Sequence[Mapping[str, Any]],
    images: ImageStore,
    count: int,
    rng: Random,
) -> dict[str, float]:
    """Descriptions of things of whole images: precision, recall at IoU 0.5, errors in pixels.

    ``error`` is the median and ``error95`` the 95th percentile over the sides of matched boxes.
    """
    hits, found, present, errors = 0, 0, 0, []
    for _ in range(count if rows else 0):
        row = rng.choice(rows)
        phrase = describe(rng, rng.choice(row["objects"]))
        if phrase is None:
            continue
        true = [t["box"] for t in row["objects"] if phrase.holds(t)]
        seen = [box for box, _ in teacher.boxes(images.get(row["image_id"]), [phrase.text])[0]]
        pairs = matched(seen, true)
        hits, found, present = hits + len(pairs), found + len(seen), present + len(true)
        errors += [abs(a - b) for i, j in pairs for a, b in zip(seen[i], true[j], strict=True)]
    errors = errors or [0.0]
    return {
        "precision": round(hits / max(1, found), 4),
        "recall": round(hits / max(1, present), 4),
        "error": round(float(np.median(errors)), 3),
        "error95": round(float(np.quantile(errors, 0.95)), 3),
        "n": count,
    }
