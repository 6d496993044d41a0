"""Samples as arrays, decoded once before training, and the loss of each module on a batch of them.

Each class has the same methods, which is all that `fit` knows of a module: ``len``,
``batch(rows, noise)``, ``outputs(student, batch)``, ``loss`` (to targets), ``kept`` (to an earlier
student), ``sign``, which tells one set of examples from another, and ``weights``: how often each
comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.base.sample import Sample
from sdvp_core.distill import losses

MEMORY = 2 * 1024**3  # bytes of decoded pixels kept; above that they are decoded batch by batch


@dataclass(frozen=True)
class Recipe:
    """What the losses need to know. ``assignment``: "nearest" patch, or "hungarian" matching."""

    alpha: float = 0.5
    temperature: float = 2.0
    assignment: str = "nearest"
    mirror: str = "none"  # see views in a mirror at random: none, sides, all (locate)
    shift: float = 0.0  # share of a view's side: move views by up to so much at random (locate)
    weights: losses.BoxWeights = field(default_factory=losses.BoxWeights)


class Pixels:
    """What a student sees of many places, as uint8 rows; decoded ahead where memory allows.

    ``drawn``: the rows, where they have been drawn already.
    """

    def __init__(
        self, places: Sequence[Any], draw: Any, side: int, drawn: list[np.ndarray] | None = None
    ):
        self._places, self._draw = places, draw
        if not drawn and fits(len(places), side):
            drawn = [draw(place) for place in places]
        self._rows = np.stack(drawn) if drawn else None

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        if self._rows is not None:
            return self._rows[rows]
        return np.stack([self._draw(self._places[row]) for row in rows])

    def sign(self, digest: Any) -> None:
        digest.update(repr(self._places).encode() if self._rows is None else self._rows)


def fits(places: int, side: int) -> bool:
    """Whether what a student sees of so many places can be held in memory."""
    return places * side * side * 3 <= MEMORY


class Texts:
    """Token ids of texts that recur, each encoded once."""

    def __init__(self, student: Any, texts: Sequence[str]):
        self.place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        self.tokens = student.encode(list(self.place)) if self.place else torch.zeros(0, 1).long()


def readable(samples: Sequence[Sample], images: ImageStore) -> list[Sample]:
    """The samples whose image decodes."""
    verdict: dict[str, bool] = {}
    for sample in samples:
        if sample.image_id not in verdict:
            try:
                images.get(sample.image_id)
                verdict[sample.image_id] = True
            except ImageError:
                verdict[sample.image_id] = False
    return [sample for sample in samples if verdict[sample.image_id]]


class AnswerExamples:
    """Samples of `vqa`. One whose likeliest answer the student has no class for is left out."""

    weights = None  # every sample comes equally often

    def __init__(self, student: Any, samples: Sequence[Sample], images: ImageStore, recipe: Recipe):
        self.classes = {answer: index for index, answer in enumerate(student.answers)}
        self.recipe = recipe
        self.samples = [s for s in samples if not s.answers or s.answers[0][0] in self.classes]
        places = list(dict.fromkeys((s.image_id, s.region) for s in self.samples))
        row_of = {place: row for row, place in enumerate(places)}
        self.rows = np.array([row_of[s.image_id, s.region] for s in self.samples], dtype=np.int64)
        self.pixels = Pixels(places, lambda p: student.crop(images.get(p[0]), p[1]), student.side)
        self.texts = Texts(student, [s.texts[0] for s in self.samples])

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, rows: np.ndarray, noise: np.random.Generator) -> dict[str, torch.Tensor]:
        chosen = [self.samples[row] for row in rows]
        soft = torch.zeros(len(chosen), len(self.classes))
        for line, sample in enumerate(chosen):
            for answer, chance in sample.answers:
                if answer in self.classes:
                    soft[line, self.classes[answer]] += chance
        tokens = self.texts.tokens[[self.texts.place[s.texts[0]] for s in chosen]]
        return {
            "pixels": torch.from_numpy(self.pixels[self.rows[rows]]),
            "tokens": tokens,
            "soft": soft / soft.sum(dim=1, keepdim=True).clamp(min=1e-9),
            "hard": torch.tensor(
                [self.classes[s.answers[0][0]] if s.answers else 0 for s in chosen]
            ),
        }

    def sign(self, digest: Any) -> None:
        digest.update(repr(self.samples).encode())
        self.pixels.sign(digest)

    def outputs(self, student: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return student.logits(batch["pixels"], batch["tokens"])

    def loss(self, logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        hard, soft = batch["hard"].to(logits.device), batch["soft"].to(logits.device)
        return losses.answers(logits, hard, soft, self.recipe.alpha, self.recipe.temperature)

    def kept(
        self, logits: torch.Tensor, before: torch.Tensor, batch: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        return losses.answers_kept(logits, before, self.recipe.temperature)


class MatchExamples:
    """Samples of `match`: a crop and some texts."""

    weights = None

    def __init__(self, student: Any, samples: Sequence[Sample], images: ImageStore, recipe: Recipe):
        self.recipe = recipe
        self.samples = list(samples)
        places = list(dict.fromkeys((s.image_id, s.region) for s in self.samples))
        row_of = {place: row for row, place in enumerate(places)}
        self.rows = np.array([row_of[s.image_id, s.region] for s in self.samples], dtype=np.int64)
        self.pixels = Pixels(places, lambda p: student.crop(images.get(p[0]), p[1]), student.side)
        self.texts = Texts(student, [text for s in self.samples for text in s.texts])

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, rows: np.ndarray, noise: np.random.Generator) -> dict[str, torch.Tensor]:
        chosen = [self.samples[row] for row in rows]
        used = list(dict.fromkeys(self.texts.place[t] for s in chosen for t in s.texts))
        column = {place: index for index, place in enumerate(used)}
        asked, scores = torch.zeros(2, len(chosen), len(used))
        for line, sample in enumerate(chosen):
            for text, score in zip(sample.texts, sample.scores or (0.0,) * len(sample.texts),
                                   strict=True):  # fmt: skip
                asked[line, column[self.texts.place[text]]] = 1.0
                scores[line, column[self.texts.place[text]]] = score
        return {
            "pixels": torch.from_numpy(self.pixels[self.rows[rows]]),
            "tokens": self.texts.tokens[used],
            "asked": asked,
            "scores": scores,
        }

    def sign(self, digest: Any) -> None:
        digest.update(repr(self.samples).encode())
        self.pixels.sign(digest)

    def outputs(self, student: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return student.logits(batch["pixels"], batch["tokens"])

    def loss(self, logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        scores, asked = batch["scores"].to(logits.device), batch["asked"].to(logits.device)
        return losses.matches(logits, scores, asked, self.recipe.alpha, self.recipe.temperature)

    def kept(
        self, logits: torch.Tensor, before: torch.Tensor, batch: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        asked = batch["asked"].to(logits.device)
        return losses.matches_kept(logits, before, asked, self.recipe.temperature)
