"""Samples sorted once by a score, for the areas under their curves in many resamples."""

import math

import numpy as np

from nnmpi.arrays import Array


class Ranking:
    """Samples in the order of a score. They are sorted once; `nnmpi.training.metrics.ranking` sorts at each call.

    Parameters
    ----------
    positive : array of bool, shape (n,)
    score : array, shape (n,)
        Higher for samples that are more likely positive.
    weights : array, shape (n,)
    """

    def __init__(self, positive: Array, score: Array, weights: Array) -> None:
        self._weights = weights
        self._order = np.argsort(-score, kind="stable")
        self._positive = positive[self._order]
        ends = np.flatnonzero(np.diff(score[self._order]) != 0)
        self._ends = np.append(ends, len(score) - 1)  # the last sample of each group of equal scores

    def roc_auc(self, draws: Array) -> float:
        """Return the area under the ROC curve; ties count half; NaN without both classes.

        Each sample counts as often as `draws` says.
        """
        hits, misses = self._sums(draws)
        area = np.sum(np.diff(misses, prepend=0) * (hits + np.concatenate(([0], hits[:-1]))) / 2)
        return float(area / (hits[-1] * misses[-1])) if hits[-1] and misses[-1] else math.nan

    def average_precision(self, draws: Array) -> float:
        """Return the sum of precision × rise of recall over the thresholds; NaN without positives."""
        hits, misses = self._sums(draws)
        all_samples = hits + misses
        precision = np.divide(hits, all_samples, out=np.zeros(len(hits)), where=all_samples > 0)
        return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1]) if hits[-1] else math.nan

    def curves(self) -> tuple[Array, Array, Array]:
        """Return false positive rate, recall and precision at each threshold, from the highest down."""
        hits, misses = self._sums(np.ones(len(self._order)))
        all_samples = hits + misses
        precision = np.divide(hits, all_samples, out=np.ones(len(hits)), where=all_samples > 0)
        return misses / (misses[-1] or 1), hits / (hits[-1] or 1), precision

    def _sums(self, draws: Array) -> tuple[Array, Array]:
        """Return the weights of the positive and of the negative samples at or above each threshold."""
        weights = (draws * self._weights)[self._order].astype(np.float64)
        hits, misses = np.cumsum(weights * self._positive)[self._ends], np.cumsum(weights * ~self._positive)[self._ends]
        return hits, misses
