"""How sure a difference is: McNemar's exact test and a bootstrap by group.

Questions about one image stand and fall together, so whole groups are resampled (the cluster
bootstrap; Davison and Hinkley 1997, section 3.8). McNemar's test takes questions as independent:
where the groups are few and large, read the interval rather than p.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

RESAMPLES = 2000
LEVEL = 0.95
# Index matrices of this many entries at a time: memory stays at some tens of MB.
_CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its bounds, in the unit of what was averaged (fractions of 1 here).

    ``low`` and ``high`` are None where fewer than two groups exist: nothing can be resampled then.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    groups: int


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Two-sided exact p that as many answers got right as got wrong (McNemar 1947, binomial form).

    ``before``, ``after``: (n,) whether the same n questions were answered rightly. 1.0 where no
    answer changed. Raises ``ValueError`` where the lengths differ.
    """
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} answers before, {second.size} after: they are not paired")
    gained, lost = int((~first & second).sum()), int((first & ~second).sum())
    return float(min(1.0, 2.0 * binom.cdf(min(gained, lost), gained + lost, 0.5)))


def resample(
    values: Sequence[float],
    groups: Sequence[str],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> NDArray[np.float64]:
    """Means of ``values`` over resampled groups, (resamples,).

    ``values``: (n,), ``groups``: (n,) the group of each. As many groups as there are get drawn with
    replacement, each with all its values. Raises ``ValueError`` for no values or unequal lengths.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or numbers.size != len(groups):
        raise ValueError(f"{numbers.size} values for {len(groups)} group names")
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.bincount(group_of, weights=numbers)
    sizes = np.bincount(group_of).astype(np.float64)
    rows = max(1, _CHUNK // len(names))
    means = np.empty(resamples)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = rng.integers(0, len(names), size=(stop - start, len(names)), dtype=np.int32)
        means[start:stop] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means


def bounds(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The percentile interval of bootstrap draws."""
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(draws, (tail, 1.0 - tail))
    return float(low), float(high)


def mean_interval(
    values: Sequence[float],
    groups: Sequence[str],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean of (n,) values and its 95% interval, groups resampled: an accuracy, for instance."""
    numbers = np.asarray(values, dtype=np.float64)
    count = len(set(groups))
    draws = resample(numbers, groups, rng, resamples)
    low, high = bounds(draws) if count > 1 else (None, None)
    return Interval(float(numbers.mean()), low, high, int(numbers.size), count)


def paired_interval(
    before: Sequence[bool],
    after: Sequence[bool],
    groups: Sequence[str],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Interval:
    """Accuracy after minus accuracy before on the same (n,) questions, with its 95% interval."""
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} answers before, {second.size} after: they are not paired")
    return mean_interval(second - first, groups, rng, resamples)
