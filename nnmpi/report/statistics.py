"""How sure a score is: confidence intervals over the samples of the test part."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Statistic = Callable[[Array], float]  # from how often each sample counts

LEVEL = 0.95
Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
RESAMPLES = 1000
WORK = 3 * 10**8  # samples that are drawn for one interval at most
SEED = 0


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Wilson's interval for the share of `correct` among `count` samples (E. B. Wilson 1927)."""
    share = correct / count
    centre = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def bootstrap(statistics: dict[str, Statistic], count: int) -> dict[str, tuple[float, float]]:
    """The percentile interval of each statistic over resamples of `count` samples, with a fixed seed.

    A statistic that is not a number in over half of the resamples has no interval.
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


class Ranking:
    """Samples in the order of a score, made once, for the areas under their curves in many resamples.

    Parameters
    ----------
    positive : array of bool, shape (n,)
    score : array, shape (n,)
        Large for samples that are thought to be positive.
    """

    def __init__(self, positive: Array, score: Array) -> None:
        self._order = np.argsort(-score, kind="stable")
        self._positive = positive[self._order]
        ends = np.flatnonzero(np.diff(score[self._order]) != 0)
        self._ends = np.append(ends, len(score) - 1)  # the last sample of each group of equal scores

    def roc_auc(self, weights: Array) -> float:
        """The area under the ROC curve, samples of equal score counted half; NaN without both classes."""
        hits, misses = self._sums(weights)
        area = np.sum(np.diff(misses, prepend=0) * (hits + np.concatenate(([0], hits[:-1]))) / 2)
        return float(area / (hits[-1] * misses[-1])) if hits[-1] and misses[-1] else math.nan

    def average_precision(self, weights: Array) -> float:
        """The sum of the precisions at each threshold, weighted by the rise of the recall; NaN without positives."""
        hits, misses = self._sums(weights)
        precision = hits / np.maximum(hits + misses, 1)
        return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1]) if hits[-1] else math.nan

    def curves(self) -> tuple[Array, Array, Array]:
        """The false positive rate, the recall and the precision at each threshold, the highest threshold first."""
        hits, misses = self._sums(np.ones(len(self._order)))
        return misses / max(1, misses[-1]), hits / max(1, hits[-1]), hits / (hits + misses)

    def _sums(self, weights: Array) -> tuple[Array, Array]:
        """The weights of the positive and of the other samples down to each threshold."""
        weights = weights[self._order].astype(np.float64)
        hits, misses = np.cumsum(weights * self._positive)[self._ends], np.cumsum(weights * ~self._positive)[self._ends]
        return hits, misses
