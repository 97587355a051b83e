"""Metrics that follow from how often each class is predicted as which; definitions and edge cases as in scikit-learn.

A value is NaN where it is undefined: a class that is never predicted has no precision. An average counts it as 0.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Confusion:
    """The weight of the samples of each pair of true and predicted class that occurs, also where the weight is 0.

    Attributes
    ----------
    true, predicted : array, shape (pairs,)
        Class codes.
    weight : array, shape (pairs,)
        Without sample weights the number of samples.
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
    def occurs(self) -> npt.NDArray[np.bool_]:
        """Which classes are true or predicted for any sample."""
        return np.bincount(np.concatenate([self.true, self.predicted]), minlength=self.classes) > 0

    def _by_class(self, codes: Indices, weight: Floats) -> Floats:
        return np.bincount(codes, weight, self.classes).astype(np.float64)  # of no pairs at all: whole numbers


def add_pairs(pairs: Indices, weights: Floats | None) -> Floats:
    """Each pair that occurs and the sum of its weights, added up in order; shape (different pairs, 2)."""
    different, places = np.unique(pairs, return_inverse=True)
    return np.stack([different, np.bincount(places, weights, len(different))], axis=1).astype(np.float64)


def accuracy(c: Confusion) -> float:
    """The share of the samples whose class is predicted."""
    return _ratio(c.correct.sum(), c.weight.sum())


def balanced_accuracy(c: Confusion) -> float:
    """The mean recall of the classes that have samples."""
    recalls = recall(c)
    defined = recalls[~np.isnan(recalls)]
    return float(defined.mean()) if len(defined) else np.nan


def largest_class_share(c: Confusion) -> float:
    """The accuracy of always predicting the most frequent class."""
    return _ratio(c.actual.max(), c.weight.sum())


def precision(c: Confusion) -> Floats:
    """Of each class, the share of the samples predicted as that class which are of it."""
    return _divide(c.correct, c.predictions)


def recall(c: Confusion) -> Floats:
    """Of each class, the share of its samples that are predicted as that class."""
    return _divide(c.correct, c.actual)


def f1(c: Confusion) -> Floats:
    """Of each class, the harmonic mean of precision and recall: ``2 correct / (actual + predicted)``."""
    return _divide(2 * c.correct, c.actual + c.predictions)


def macro(values: Floats, c: Confusion) -> float:
    """The mean of the values of all classes that occur."""
    values = values[c.occurs]
    return np.nan if np.isnan(values).all() else float(np.nan_to_num(values).mean())


def weighted(values: Floats, c: Confusion) -> float:
    """The mean of the values of all classes, weighted by their samples."""
    return _ratio((np.nan_to_num(values) * c.actual).sum(), c.actual.sum())


def micro(values: Floats, c: Confusion) -> float:
    """Precision, recall and F1 of all decisions taken together: where each sample has one class, the accuracy."""
    return accuracy(c)


def matrix(c: Confusion) -> npt.NDArray[Any]:
    """The confusion matrix, shape (classes, classes): row = true class, column = predicted class."""
    table = np.zeros((c.classes, c.classes))
    table[c.true, c.predicted] = c.weight
    return table


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else np.nan


def _divide(part: Floats, whole: Floats) -> Floats:
    quotient = np.full(len(part), np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient
