"""Samples of `locate` as arrays: views of images, and what is to be found in them."""

import hashlib
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdvp_core.base.images import ImageStore
from sdvp_core.base.sample import Sample
from sdvp_core.distill import losses
from sdvp_core.distill.examples import Pixels, Recipe, Texts, fits
from sdvp_core.modules.view import GREY, View, iou

# Of a view in a mirror, upside down, or turned these words are not true any more.
SIDES = {"left", "right", "leftmost", "rightmost"}
HEIGHTS = {
    *("above", "below", "beneath", "under", "underneath", "over", "upper", "lower", "highest"),
    *("lowest", "top", "topmost", "bottom", "bottommost", "base", "floor", "ceiling", "ground"),
}
LENGTHS = {"tall", "wide", "high", "long", "horizontal", "vertical", "standing", "lying", "tower"}
FILLING = 0.9  # share of the sides of what is seen from which a box fills it
CUT = 0.5  # boxes of which less than this is inside a view are neither found nor missed there


@dataclass
class _Scene:
    """What is asked of one view, and where it is: boxes (N, 4) centre and size, scores (N, Q)."""

    texts: list[int]
    boxes: np.ndarray
    scores: np.ndarray
    filling: np.ndarray  # (N,) whether a box fills what is seen
    words: frozenset[str]


@dataclass(frozen=True)
class _Asked:
    """One text asked of a view: its boxes (N, 4) as centre and size, with score and filling."""

    text: str
    boxes: np.ndarray
    scores: tuple[float, ...]
    filling: np.ndarray


class BoxExamples:
    """Samples of `locate`, gathered by view: one forward pass serves all texts asked of it.

    Views that look the same, pixel for pixel, are one with all that is asked of them: a picture
    that comes a hundred times (as NLVR's towers do) would drown those that come once. Where they
    are too many to be held in memory they are not compared. The views of one region share its
    weight: a long one, seen in eight tiles, comes as often as one that is seen whole.
    """

    def __init__(self, student: Any, samples: Sequence[Sample], images: ImageStore, recipe: Recipe):
        self.recipe = recipe
        self.samples = list(samples)
        self.texts = Texts(student, [s.texts[0] for s in samples])
        self.points = _points(student)
        groups: dict[tuple, list[Sample]] = {}
        for sample in samples:
            groups.setdefault((sample.image_id, sample.region), []).append(sample)

        def draw(place: tuple[str, View]) -> np.ndarray:
            return place[1].pixels(images.get(place[0]), student.side)

        asked = [
            ((image_id, view), group, 1 / len(views))
            for (image_id, region), group in groups.items()
            if (views := student.views(region, images.size(image_id)))
            for view in views
        ]
        compared = fits(len(asked), student.side)
        places: dict[Hashable, tuple[str, View]] = {}
        drawn: list[np.ndarray] = []
        seen: dict[Hashable, list[_Asked]] = {}
        shares: dict[Hashable, float] = {}
        for place, group, share in asked:
            pixels = draw(place) if compared else None
            look = place if pixels is None else hashlib.sha256(pixels).digest()
            if look not in places:
                places[look] = place
                drawn += [] if pixels is None else [pixels]
            seen.setdefault(look, []).extend(_asked(place[1], sample) for sample in group)
            shares[look] = max(share, shares.get(look, 0.0))
        self.scenes = [_scene(here, self.texts.place) for here in seen.values()]
        self.weights = np.array(list(shares.values()))
        self.pixels = Pixels(list(places.values()), draw, student.side, drawn)

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, rows: np.ndarray, noise: np.random.Generator) -> dict[str, Any]:
        scenes = [self.scenes[row] for row in rows]
        pixels = self.pixels[rows]
        boxes = [scene.boxes for scene in scenes]
        if self.recipe.mirror != "none" or self.recipe.shift:
            pixels, boxes = _moved(pixels, scenes, self.recipe, noise)
        used = list(dict.fromkeys(text for scene in scenes for text in scene.texts))
        column = {text: index for index, text in enumerate(used)}
        width = max(len(scene.texts) for scene in scenes)
        queries, asked = np.zeros((2, len(rows), width), dtype=np.int64)
        for line, scene in enumerate(scenes):
            queries[line, : len(scene.texts)] = [column[text] for text in scene.texts]
            asked[line, : len(scene.texts)] = 1
        return {
            "pixels": torch.from_numpy(pixels),
            "tokens": self.texts.tokens[used],
            "queries": torch.from_numpy(queries),
            "asked": torch.from_numpy(asked)[:, None].float(),
            "boxes": boxes,
            "scores": [scene.scores for scene in scenes],
            "filling": [scene.filling for scene in scenes],
        }

    def sign(self, digest: Any) -> None:
        digest.update(repr(self.samples).encode())
        self.pixels.sign(digest)

    def outputs(self, student: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        vectors = student.embed_texts(batch["tokens"])[batch["queries"].to(student.device)]
        return student.heads(student.embed_images(batch["pixels"]), vectors)

    def loss(
        self, outputs: tuple[torch.Tensor, torch.Tensor], batch: dict[str, Any]
    ) -> torch.Tensor:
        logits, found = outputs
        scores = torch.zeros(logits.shape)
        lines, patches, truth = [], [], []
        targets = zip(batch["boxes"], batch["scores"], batch["filling"], strict=True)
        for line, (boxes, table, filling) in enumerate(targets):
            if not len(boxes):
                continue
            chosen = self._assigned(boxes, table, filling, logits[line], found[line])
            scores[line, torch.from_numpy(chosen), : table.shape[1]] = torch.from_numpy(table)
            lines += [line] * len(boxes)
            patches += chosen.tolist()
            truth.append(boxes)
        place = (torch.tensor(lines).long(), torch.tensor(patches).long())
        target = torch.from_numpy(np.concatenate(truth)).float() if truth else torch.zeros(0, 4)
        device = logits.device
        return losses.boxes(
            logits, found, scores.to(device), batch["asked"].to(device), place,
            target.to(device), self.recipe.weights,
        )  # fmt: skip

    def kept(self, outputs: Any, before: Any, batch: dict[str, Any]) -> torch.Tensor:
        asked = batch["asked"].to(outputs[0].device)
        return losses.boxes_kept(
            *outputs, before, asked, self.recipe.temperature, self.recipe.weights
        )

    def _assigned(
        self,
        boxes: np.ndarray,
        table: np.ndarray,
        filling: np.ndarray,
        logits: torch.Tensor,
        found: torch.Tensor,
    ) -> np.ndarray:
        if self.recipe.assignment == "nearest":
            return losses.nearest_patches(boxes[:, :2], self.points, filling)
        chances = logits.detach().sigmoid().cpu().numpy()[:, : table.shape[1]] @ table.T
        chances = chances / np.maximum(table.sum(axis=1), 1e-9)
        places = found.detach().float().cpu().numpy()
        return losses.hungarian_patches(places, boxes, chances, self.recipe.weights)


def _points(student: Any) -> np.ndarray:
    """The point (x, y) in [0, 1] that each patch's box starts from: (P, 2)."""
    return student.model.box_bias.sigmoid()[:, :2].cpu().numpy()


def _asked(view: View, sample: Sample) -> _Asked:
    """A sample as far as it is about a view."""
    pairs = zip(sample.boxes, sample.scores, strict=True)
    here = [(b, score) for box, score in pairs if (b := _inside(view, box)) is not None]
    boxes = view.from_image([tuple(box) for box, _ in here]).astype(np.float32)
    filling = (boxes[:, 2:] > FILLING * view.from_image([view.box])[:, 2:]).all(axis=1)
    return _Asked(sample.texts[0], boxes, tuple(score for _, score in here), filling)


def _scene(asked: Sequence[_Asked], place: dict[str, int]) -> _Scene:
    """The targets of one view. Boxes that are the same thing become one, at its best score."""
    texts = list(dict.fromkeys(one.text for one in asked))
    boxes: list[np.ndarray] = []
    filling: list[bool] = []
    rows: list[np.ndarray] = []
    found = [
        (score, box, fills, texts.index(one.text))
        for one in asked
        for score, box, fills in zip(one.scores, one.boxes, one.filling, strict=True)
    ]
    for score, box, fills, column in sorted(found, key=lambda one: -one[0]):
        same = _same(boxes, box)
        if same is None:
            same = len(boxes)
            boxes.append(box)
            filling.append(fills)
            rows.append(np.zeros(len(texts), dtype=np.float32))
        rows[same][column] = max(score, rows[same][column])
    return _Scene(
        [place[text] for text in texts],
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(rows, dtype=np.float32).reshape(-1, len(texts)),
        np.array(filling, dtype=bool),
        frozenset(word for text in texts for word in re.findall("[a-z]+", text.lower())),
    )


def _inside(view: View, box: Any) -> np.ndarray | None:
    corners = np.array(box, dtype=np.float64)
    clipped = np.concatenate(
        [np.maximum(corners[:2], view.box[:2]), np.minimum(corners[2:], view.box[2:])]
    )
    size, full = clipped[2:] - clipped[:2], corners[2:] - corners[:2]
    if (size <= 0).any() or size.prod() < CUT * full.prod() or size.max() < view.smallest:
        return None
    return clipped


def _same(boxes: list[np.ndarray], box: np.ndarray, limit: float = 0.7) -> int | None:
    if not boxes:
        return None
    overlap = iou(_corners(np.stack(boxes)), _corners(box[None]))[:, 0]
    return int(overlap.argmax()) if overlap.max() > limit else None


def _corners(boxes: np.ndarray) -> np.ndarray:
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _moved(
    pixels: np.ndarray, scenes: Sequence[_Scene], recipe: Recipe, noise: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Views mirrored and shifted at random, with their boxes, which stay inside."""
    moved, places = pixels.copy(), []
    for row, scene in enumerate(scenes):
        moved[row], found = _mirrored(moved[row], scene, recipe.mirror, noise.random(3) < 0.5)
        by = [_step(found, axis, recipe.shift, noise) for axis in (0, 1)]
        x, y = (round(step * pixels.shape[1]) for step in by)
        moved[row] = _shifted(moved[row], x, y)
        found[:, :2] += np.array([x, y], dtype=np.float32) / pixels.shape[1]
        places.append(found)
    return moved, places


def _mirrored(
    pixels: np.ndarray, scene: _Scene, mirror: str, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One view and its boxes; ``drawn``: whether left and right, up and down, and the two axes
    change places."""
    boxes = scene.boxes.copy()
    sides = mirror != "none" and not scene.words & SIDES
    heights = mirror == "all" and not scene.words & HEIGHTS
    if sides and drawn[0]:
        pixels, boxes[:, 0] = pixels[:, ::-1], 1 - boxes[:, 0]
    if heights and drawn[1]:
        pixels, boxes[:, 1] = pixels[::-1], 1 - boxes[:, 1]
    if sides and heights and drawn[2] and not scene.words & LENGTHS:
        pixels, boxes = pixels.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    return pixels, boxes


def _step(boxes: np.ndarray, axis: int, most: float, noise: np.random.Generator) -> float:
    low = (boxes[:, axis] - boxes[:, axis + 2] / 2).min(initial=1.0)
    high = (boxes[:, axis] + boxes[:, axis + 2] / 2).max(initial=0.0)
    # Drawn before it is clipped, so that equal rows draw equally often.
    step = noise.uniform(-most, most)
    return float(np.clip(step, -max(low, 0.0), max(1.0 - high, 0.0)))


def _shifted(pixels: np.ndarray, x: int, y: int) -> np.ndarray:
    side = len(pixels)
    canvas = np.full_like(pixels, GREY)
    canvas[max(y, 0) : side + min(y, 0), max(x, 0) : side + min(x, 0)] = pixels[
        max(-y, 0) : side + min(-y, 0), max(-x, 0) : side + min(-x, 0)
    ]
    return canvas
