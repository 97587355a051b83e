"""Metrics of how well scores rank the samples of a class before all others; definitions as in scikit-learn."""

import numpy as np

from nnmpi.arrays import Array, Booleans, Floats, Indices


class Ranking:
    """Samples in the order of a score. They are sorted once, for the metrics of many resamples.

    Parameters
    ----------
    positive : array of bool, shape (n,)
    scores : array, shape (n,)
        Higher for samples that are more likely positive. If one is not finite, the metrics are undefined.
    weights : array, shape (n,), or None
        The weight of each sample; None stands for 1 each.
    """

    def __init__(self, positive: Booleans, scores: Array, weights: Floats | None = None) -> None:
        used = np.arange(len(scores)) if weights is None else np.flatnonzero(weights)
        if not np.isfinite(scores[used]).all():
            used = used[:0]
        self._order = used[np.argsort(-scores[used], kind="stable")]
        self._positive = positive[self._order]
        self._weights = np.ones(len(self._order)) if weights is None else weights[self._order]
        ends = np.flatnonzero(np.diff(scores[self._order]))
        self._ends = np.append(ends, len(self._order) - 1) if len(self._order) else ends  # of groups of equal scores

    def roc_auc(self, draws: Array | None = None) -> float:
        """Return the area under the ROC curve: how probably a positive sample scores higher than a negative one.

        Equal scores count half. The area is NaN without samples of both classes. With `draws` each sample counts as
        often as these say.
        """
        hits, misses = self._cumulative(draws)
        if not (len(hits) and hits[-1] and misses[-1]):
            return np.nan
        area = np.trapezoid(np.concatenate([[0.0], hits]), np.concatenate([[0.0], misses]))
        return float(area / hits[-1] / misses[-1])

    def average_precision(self, draws: Array | None = None) -> float:
        """Return ``Σ (R_i - R_{i-1}) P_i`` over the thresholds, highest score first; NaN without a positive sample."""
        hits, misses = self._cumulative(draws)
        if not (len(hits) and hits[-1]):
            return np.nan
        total = hits + misses  # 0 before the first sample that is drawn
        return float(np.sum(np.diff(hits, prepend=0.0) / hits[-1] * hits / np.where(total > 0, total, 1.0)))

    def curves(self) -> tuple[Array, Array, Array]:
        """Return false positive rate, recall and precision at each threshold, from the highest down."""
        hits, misses = self._cumulative()
        return misses / (misses[-1] or 1), hits / (hits[-1] or 1), hits / (hits + misses)

    def _cumulative(self, draws: Array | None = None) -> tuple[Floats, Floats]:
        """Return the weight of the positive and of the negative samples with at least each score, highest first."""
        weights = self._weights if draws is None else draws[self._order] * self._weights
        return np.cumsum(weights * self._positive)[self._ends], np.cumsum(weights * ~self._positive)[self._ends]


def roc_auc(positive: Booleans, scores: Array, weights: Floats | None = None) -> float:
    """Return `Ranking.roc_auc` of all samples."""
    return Ranking(positive, scores, weights).roc_auc()


def average_precision(positive: Booleans, scores: Array, weights: Floats | None = None) -> float:
    """Return `Ranking.average_precision` of all samples."""
    return Ranking(positive, scores, weights).average_precision()


def is_among_top(k: int, true: Indices, scores: Array) -> Booleans:
    """Return whether the true class has one of the `k` highest of a sample's `scores`, shape (n, classes).

    Among classes with equal scores the last one ranks highest, as in scikit-learn.
    """
    own = scores[np.arange(len(true)), true][:, None]
    after = np.arange(scores.shape[1]) > true[:, None]
    return np.asarray(((scores > own) | ((scores == own) & after)).sum(axis=1) < k)
