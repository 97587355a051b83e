"""Metrics of how well scores rank the samples of a class before all others; definitions as in scikit-learn."""

import numpy as np

from nnmpi.arrays import Array, Booleans, Floats, Indices

Weights = Floats | None


def roc_auc(positive: Booleans, scores: Array, weights: Weights = None) -> float:
    """Return the area under the ROC curve: the probability that a positive sample scores higher than a negative one.

    Equal scores count half. The area is NaN without samples of both classes.
    """
    hits, misses = _cumulative(positive, scores, weights)
    if not (len(hits) and hits[-1] and misses[-1]):
        return np.nan
    area = np.trapezoid(np.concatenate([[0.0], hits]), np.concatenate([[0.0], misses]))
    return float(area / hits[-1] / misses[-1])


def average_precision(positive: Booleans, scores: Array, weights: Weights = None) -> float:
    """Return ``Σ (R_i - R_{i-1}) P_i`` over the thresholds, highest score first; NaN without a positive sample."""
    hits, misses = _cumulative(positive, scores, weights)
    if not (len(hits) and hits[-1]):
        return np.nan
    return float(np.sum(np.diff(hits, prepend=0.0) / hits[-1] * hits / (hits + misses)))


def is_among_top(k: int, true: Indices, scores: Array) -> Booleans:
    """Return whether the true class has one of the `k` highest of a sample's `scores`, shape (n, classes).

    Among classes with equal scores the last one ranks highest, as in scikit-learn.
    """
    own = scores[np.arange(len(true)), true][:, None]
    after = np.arange(scores.shape[1]) > true[:, None]
    return np.asarray(((scores > own) | ((scores == own) & after)).sum(axis=1) < k)


def _cumulative(positive: Booleans, scores: Array, weights: Weights) -> tuple[Floats, Floats]:
    """Return the weight of the positive and of the negative samples with at least each score, highest score first."""
    if weights is not None:
        used = weights != 0
        positive, scores, weights = positive[used], scores[used], weights[used]
    if not np.isfinite(scores).all():
        return np.zeros(0), np.zeros(0)
    descending = np.argsort(-scores, kind="stable")
    sorted_scores = scores[descending]
    ends = np.append(np.flatnonzero(np.diff(sorted_scores)), len(scores) - 1) if len(scores) else np.zeros(0, np.intp)

    def cumulative(chosen: Array) -> Floats:
        values = chosen if weights is None else chosen * weights
        sums: Floats = np.cumsum(values[descending], dtype=np.float64)
        return np.asarray(sums[ends])

    return cumulative(positive), cumulative(~positive)
