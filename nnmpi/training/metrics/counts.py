"""Metrics computed from counts of classes or labels; definitions and edge cases as in scikit-learn.

An undefined value is NaN: a class that is never predicted has no precision. An average counts it as 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nnmpi.arrays import Array, Booleans, Floats, Indices


@dataclass(frozen=True)
class Confusion:
    """The total weight of each pair of true and predicted class that occurs, even if that weight is 0.

    Attributes
    ----------
    true, predicted : array, shape (pairs,)
        Class codes.
    weight : array, shape (pairs,)
        The total weight of each pair; without sample weights the number of samples.
    """

    classes: int
    true: Indices
    predicted: Indices
    weight: Floats

    @property
    def actual(self) -> Floats:
        """The weight of the samples of each class."""
        return self._by_class(self.true, self.weight)

    @property
    def predictions(self) -> Floats:
        """The weight of the samples that are predicted as each class."""
        return self._by_class(self.predicted, self.weight)

    @property
    def correct(self) -> Floats:
        """The weight of the samples of each class that are predicted as that class."""
        right = self.true == self.predicted
        return self._by_class(self.true[right], self.weight[right])

    @property
    def occurs(self) -> Booleans:
        """Whether each class is true or predicted for some sample."""
        return np.bincount(np.concatenate([self.true, self.predicted]), minlength=self.classes) > 0

    def _by_class(self, codes: Indices, weight: Floats) -> Floats:
        return np.bincount(codes, weight, self.classes).astype(np.float64)  # bincount of nothing gives integers


class Decisions(NamedTuple):
    """The total weight of samples on all ranks, for each label of a multilabel target."""

    correct: Floats  # samples that have the label and are predicted to have it
    predictions: Floats  # samples that are predicted to have it
    actual: Floats  # samples that have it


Counts = Confusion | Decisions
Function = Callable[[Any], Floats]  # `precision`, `recall` or `f1`


def add_pairs(pairs: Indices, weights: Floats | None) -> Floats:
    """Return each pair that occurs, and the sum of its weights in order; shape (distinct pairs, 2)."""
    distinct, inverse = np.unique(pairs, return_inverse=True)
    return np.stack([distinct, np.bincount(inverse, weights, len(distinct))], axis=1).astype(np.float64)


def accuracy(c: Confusion) -> float:
    """Return the share of the samples whose class is predicted correctly."""
    return ratio(c.correct.sum(), c.weight.sum())


def balanced_accuracy(c: Confusion) -> float:
    """Return the mean recall of the classes that have samples."""
    return mean_defined(recall(c))


def largest_class_share(c: Confusion) -> float:
    """Return the accuracy of always predicting the most frequent class."""
    return ratio(c.actual.max(), c.weight.sum())


def precision(c: Counts) -> Floats:
    """Return the precision of each class or label: the share of the samples predicted to have it that have it."""
    return _divide(c.correct, c.predictions)


def recall(c: Counts) -> Floats:
    """Return the recall of each class or label: the share of the samples with it that are predicted to have it."""
    return _divide(c.correct, c.actual)


def f1(c: Counts) -> Floats:
    """Return the F1 of each class or label: the harmonic mean ``2 correct / (actual + predictions)``."""
    return _divide(2 * c.correct, c.actual + c.predictions)


def macro(function: Function, c: Confusion) -> float:
    """Return the mean over the classes that occur."""
    values = function(c)[c.occurs]
    return np.nan if np.isnan(values).all() else float(np.nan_to_num(values).mean())


def weighted(function: Function, c: Confusion) -> float:
    """Return the mean over all classes, weighted by their samples."""
    return ratio((np.nan_to_num(function(c)) * c.actual).sum(), c.actual.sum())


def micro(function: Function, c: Confusion) -> float:
    """Return the accuracy: with one class per sample, micro-averaged precision, recall and F1 are all equal to it."""
    return accuracy(c)


def matrix(c: Confusion) -> Array:
    """Return the confusion matrix, shape (classes, classes): row = true class, column = predicted class."""
    table = np.zeros((c.classes, c.classes))
    table[c.true, c.predicted] = c.weight
    return table


def mean_defined(values: Floats) -> float:
    """Return the mean of the defined values; NaN if there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def ratio(part: float, whole: float) -> float:
    """Return ``part / whole``; NaN if the whole is 0."""
    return float(part / whole) if whole else np.nan


def _divide(part: Floats, whole: Floats) -> Floats:
    quotient = np.full(len(part), np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient
