"""Confidence intervals of scores over the samples of the test part."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nnmpi.arrays import Array

Statistic = Callable[[Array], float]  # a score as a function of the number of draws of each sample

LEVEL = 0.95
Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
RESAMPLES = 1000
WORK = 10**8  # samples × statistics × resamples, about; at least 100 resamples are drawn
SEED = 0


def mean_of(values: Array, weights: Array) -> Callable[[Array], Any]:
    """Return the weighted mean of `values`, shape (n,) or (n, outputs), as a function of the draws of each sample."""

    def mean(draws: Array) -> Any:
        w = draws * weights
        return w @ values / w.sum()

    return mean


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return Wilson's interval for the share of `correct` among `count` samples (E. B. Wilson 1927)."""
    share = correct / count
    centre = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def bootstrap(statistics: dict[str, Statistic], count: int) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of each statistic over resamples of `count` samples, with a fixed seed.

    A statistic has no interval if it is not finite in half of the resamples or more.
    """
    random = np.random.default_rng(SEED)
    resamples = int(np.clip(WORK // (count * max(1, len(statistics))), 100, RESAMPLES))
    values = np.empty((resamples, len(statistics)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for row in values:
            weights = np.bincount(random.integers(0, count, count), minlength=count)
            row[:] = [statistic(weights) for statistic in statistics.values()]
    intervals = {}
    for name, column in zip(statistics, values.T, strict=True):
        numbers = column[np.isfinite(column)]
        if len(numbers) > resamples / 2:
            low, high = np.quantile(numbers, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
            intervals[name] = (low, high)
    return intervals
