"""Metrics of labels of which a sample may have several; definitions as in scikit-learn, for indicator matrices.

Of a label a value is NaN where it is undefined: one that is never predicted has no precision. An average of precision,
recall or F1 counts it as 0, the mean ROC AUC and average precision leave it out.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.training.metrics import ranking
from nnmpi.training.metrics.predictions import Samples, label_losses

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]


class Decisions(NamedTuple):
    """The weight of the samples of all ranks that have each label and are predicted to, are predicted to, have it."""

    correct: Floats
    predictions: Floats
    actual: Floats


class LabelPredictions:
    """The labels of samples, true and predicted; all ranks make theirs together.

    Parameters
    ----------
    true, predicted : array of bool, shape (n, labels)
    probabilities : array, shape (n, labels)
        Of each label.

    Attributes
    ----------
    decisions : Decisions
    all_right, wrong : float
        The weight of the samples of which all labels are right; of all decisions that are wrong.
    """

    task: ClassVar[str] = "multilabel"

    def __init__(
        self, samples: Samples, true: Booleans, predicted: Booleans, probabilities: npt.NDArray[np.floating]
    ) -> None:
        self.samples, self.true, self.probabilities = samples, true, probabilities
        self._kept: dict[Callable[..., float], Floats] = {}
        self.decisions = Decisions(*map(samples.total, (true & predicted, predicted, true)))
        wrong = (true != predicted).sum(axis=1)
        self.all_right, self.wrong = samples.total(np.column_stack([wrong == 0, wrong])).tolist()

    @property
    def labels(self) -> int:
        """How many there are."""
        return int(self.true.shape[1])

    @property
    def roc_auc(self) -> Floats:
        """Of each label; NaN where all samples have it, or none has. All ranks take part."""
        return self._ranked(ranking.roc_auc)

    @property
    def average_precision(self) -> Floats:
        """Of each label; NaN where no sample has it. All ranks take part."""
        return self._ranked(ranking.average_precision)

    def _ranked(self, metric: Callable[..., float]) -> Floats:
        """Of each label, kept; up to Python 3.11 the lock of cached_property would keep ranks in threads apart."""
        if metric not in self._kept:
            samples, weights = self.samples, self.samples.gather_weights()
            pairs = zip(self.true.T, self.probabilities.T, strict=True)
            each = [metric(samples.gather(true), samples.gather(p), weights) for true, p in pairs]
            self._kept[metric] = np.array(each)
        return self._kept[metric]


def accuracy(p: LabelPredictions) -> float:
    """The share of the samples of which all labels are right."""
    return _ratio(p.all_right, p.samples.total_weight)


def hamming_loss(p: LabelPredictions) -> float:
    """The share of the decisions, of all samples and labels, that are wrong."""
    return _ratio(p.wrong, p.samples.total_weight * p.labels)


def log_loss(p: LabelPredictions) -> float:
    """The mean of `label_losses`."""
    return float(p.samples.mean(label_losses(p.probabilities, p.true)[:, None])[0])


def precision(d: Decisions) -> Floats:
    """Of each label, the share of the samples predicted to have it which have it."""
    return _divide(d.correct, d.predictions)


def recall(d: Decisions) -> Floats:
    """Of each label, the share of the samples with it which are predicted to have it."""
    return _divide(d.correct, d.actual)


def f1(d: Decisions) -> Floats:
    """Of each label, the harmonic mean of precision and recall: ``2 correct / (actual + predictions)``."""
    return _divide(2 * d.correct, d.actual + d.predictions)


Function = Callable[[Decisions], Floats]  # of the three above


def macro(function: Function, d: Decisions) -> float:
    """The mean over the labels."""
    return float(np.nan_to_num(function(d)).mean())


def weighted(function: Function, d: Decisions) -> float:
    """The mean over the labels, weighted by the samples that have them; 0 if no sample has any."""
    return float((np.nan_to_num(function(d)) * d.actual).sum() / (d.actual.sum() or 1.0))


def micro(function: Function, d: Decisions) -> float:
    """Of the decisions on all labels taken together; 0 where there is nothing to divide by."""
    return float(np.nan_to_num(function(Decisions(*(values.sum(keepdims=True) for values in d)))).item())


def mean_defined(values: Floats) -> float:
    """The mean of the values that are defined; NaN if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else np.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _divide(part: Floats, whole: Floats) -> Floats:
    quotient = np.full(len(part), np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient
