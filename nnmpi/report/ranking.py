"""Samples in the order of a score, kept for the areas under their curves in many resamples."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Ranking:
    """Samples in the order of a score, sorted once; `nnmpi.training.metrics.ranking` would sort them each time.

    Parameters
    ----------
    positive : array of bool, shape (n,)
    score : array, shape (n,)
        Large for samples that are thought to be positive.
    weights : array, shape (n,), or None
        None is the weight 1 of each sample.
    """

    def __init__(self, positive: Array, score: Array, weights: Array | None = None) -> None:
        self._weights = weights
        self._order = np.argsort(-score, kind="stable")
        self._positive = positive[self._order]
        ends = np.flatnonzero(np.diff(score[self._order]) != 0)
        self._ends = np.append(ends, len(score) - 1)  # the last sample of each group of equal scores

    def roc_auc(self, times: Array) -> float:
        """The area under the ROC curve, samples of equal score counted half; NaN without both classes.

        Each sample counts so many `times`.
        """
        hits, misses = self._sums(times)
        area = np.sum(np.diff(misses, prepend=0) * (hits + np.concatenate(([0], hits[:-1]))) / 2)
        return float(area / (hits[-1] * misses[-1])) if hits[-1] and misses[-1] else math.nan

    def average_precision(self, times: Array) -> float:
        """The sum of the precisions at each threshold, weighted by the rise of the recall; NaN without positives."""
        hits, misses = self._sums(times)
        all_samples = hits + misses
        precision = np.divide(hits, all_samples, out=np.zeros(len(hits)), where=all_samples > 0)
        return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1]) if hits[-1] else math.nan

    def curves(self) -> tuple[Array, Array, Array]:
        """The false positive rate, the recall and the precision at each threshold, the highest threshold first."""
        hits, misses = self._sums(np.ones(len(self._order)))
        all_samples = hits + misses
        precision = np.divide(hits, all_samples, out=np.ones(len(hits)), where=all_samples > 0)
        return misses / (misses[-1] or 1), hits / (hits[-1] or 1), precision

    def _sums(self, times: Array) -> tuple[Array, Array]:
        """The weights of the positive and of the other samples down to each threshold."""
        weights = (times if self._weights is None else times * self._weights)[self._order].astype(np.float64)
        hits, misses = np.cumsum(weights * self._positive)[self._ends], np.cumsum(weights * ~self._positive)[self._ends]
        return hits, misses
