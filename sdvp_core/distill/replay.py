"""Inputs of earlier links and of pre-training, kept so that a student can be held to what it said.

Self-distillation needs inputs only: the targets are what the student before this link answers.
"""

import random
from collections.abc import Hashable, Sequence

import numpy as np

from sdvp_core.base.sample import Sample


def keep(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """At most ``count`` of the samples, by chance, in their own order.

    Of `locate`, ``count`` regions with all that is asked of them: one look serves every name, so
    that a region kept whole says more about the earlier student at the same cost.
    """
    looks: list[Hashable] = [
        (s.image_id, s.region) if s.module == "locate" else place for place, s in enumerate(samples)
    ]
    distinct = list(dict.fromkeys(looks))
    if len(distinct) <= count:
        return list(samples)
    chosen = set(random.Random(seed).sample(distinct, count))
    return [sample for sample, look in zip(samples, looks, strict=True) if look in chosen]


class Order:
    """Which rows are in the batch of a step: epochs of shuffled rows, a function of the step alone.

    A run that is stopped and started again needs no state to go on with the same batches.
    ``weights`` (rows): how often a row comes, against the others; over an epoch of as many draws as
    there are rows it comes as often as they say, give or take one. None: every row once.
    """

    def __init__(self, rows: int, batch_size: int, seed: int, weights: np.ndarray | None = None):
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
        self._shares = None if weights is None else np.cumsum(weights) / np.sum(weights)
        self._epoch, self._order = -1, np.arange(0)

    def __getitem__(self, step: int) -> np.ndarray:
        """Row numbers (batch_size) of a step, counted from 0."""
        first = step * self.batch_size
        wanted = range(first, first + self.batch_size)
        return np.array([self._row(place) for place in wanted], dtype=np.int64)

    def _row(self, place: int) -> int:
        epoch, offset = divmod(place, self.rows)
        if epoch != self._epoch:
            noise = np.random.default_rng([self.seed, epoch])
            self._epoch, self._order = epoch, noise.permutation(self._drawn(noise))
        return int(self._order[offset])

    def _drawn(self, noise: np.random.Generator) -> np.ndarray:
        """The rows of an epoch, by systematic sampling."""
        if self._shares is None:
            return np.arange(self.rows)
        points = (np.arange(self.rows) + noise.random()) / self.rows
        return np.minimum(np.searchsorted(self._shares, points), self.rows - 1)
