"""Inputs of earlier links and of pre-training, kept so that a student can be held to what it said.

Self-distillation needs inputs only: the targets are what the student before this link answers.
"""

import random
from collections.abc import Sequence

import numpy as np

from sdvp_core.base.sample import Sample


def keep(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """At most ``count`` of the samples, by chance, in their own order."""
    if len(samples) <= count:
        return list(samples)
    chosen = random.Random(seed).sample(range(len(samples)), count)
    return [samples[index] for index in sorted(chosen)]


class Order:
    """Which rows are in the batch of a step: epochs of shuffled rows, a function of the step alone.

    A run that is stopped and started again needs no state to go on with the same batches.
    """

    def __init__(self, rows: int, batch_size: int, seed: int):
        self.rows, self.batch_size, self.seed = rows, batch_size, seed
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
            self._epoch, self._order = epoch, noise.permutation(self.rows)
        return int(self._order[offset])
