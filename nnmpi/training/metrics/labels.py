"""Metrics of multilabel targets; definitions as in scikit-learn, for indicator matrices.

An undefined value of a label is NaN: a label that is never predicted has no precision. Averages of precision, recall
and F1 count it as 0; the means of ROC AUC and average precision leave it out.
"""

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from nnmpi.arrays import Array, Booleans, Floats
from nnmpi.training.metrics import ranking
from nnmpi.training.metrics.counts import Decisions, Function, ratio
from nnmpi.training.metrics.predictions import PartSamples, label_losses


class LabelPredictions:
    """The true and the predicted labels of samples. All ranks construct one together.

    Parameters
    ----------
    true, predicted : array of bool, shape (n, labels)
    probabilities : array, shape (n, labels)
        The probability of each label.

    Attributes
    ----------
    counts : Decisions
    all_right, wrong : float
        The weight of the samples whose labels are all right; the weight of the wrong decisions.
    """

    task: ClassVar[str] = "multilabel"

    def __init__(self, samples: PartSamples, true: Booleans, predicted: Booleans, probabilities: Array) -> None:
        self.samples, self.true, self.probabilities = samples, true, probabilities
        self._cache: dict[Callable[..., float], Floats] = {}
        self.counts = Decisions(*map(samples.total, (true & predicted, predicted, true)))
        wrong = (true != predicted).sum(axis=1)
        self.all_right, self.wrong = samples.total(np.column_stack([wrong == 0, wrong])).tolist()

    @property
    def labels(self) -> int:
        """The number of labels."""
        return int(self.true.shape[1])

    @property
    def roc_auc(self) -> Floats:
        """ROC AUC of each label; NaN if all samples have the label, or none has. All ranks take part."""
        return self._ranked(ranking.roc_auc)

    @property
    def average_precision(self) -> Floats:
        """Average precision of each label; NaN if no sample has the label. All ranks take part."""
        return self._ranked(ranking.average_precision)

    def _ranked(self, metric: Callable[..., float]) -> Floats:
        """Return the metric of each label, from a cache after the first call.

        Not a cached_property: its lock, up to Python 3.11, would block ranks that are threads of one process.
        """
        if metric not in self._cache:
            samples, weights = self.samples, self.samples.gather_weights()
            pairs = zip(self.true.T, self.probabilities.T, strict=True)
            values = [metric(samples.gather(true), samples.gather(p), weights) for true, p in pairs]
            self._cache[metric] = np.array(values)
        return self._cache[metric]


def accuracy(p: LabelPredictions) -> float:
    """Return the share of the samples whose labels are all right."""
    return ratio(p.all_right, p.samples.total_weight)


def hamming_loss(p: LabelPredictions) -> float:
    """Return the share of wrong decisions, over all samples and labels."""
    return ratio(p.wrong, p.samples.total_weight * p.labels)


def log_loss(p: LabelPredictions) -> float:
    """Return the mean of `label_losses`."""
    return float(p.samples.mean(label_losses(p.probabilities, p.true)[:, None])[0])


def macro(function: Function, d: Decisions) -> float:
    """Return the mean over the labels."""
    return float(np.nan_to_num(function(d)).mean())


def weighted(function: Function, d: Decisions) -> float:
    """Return the mean over the labels, weighted by the samples that have them; 0 if no sample has a label."""
    return float((np.nan_to_num(function(d)) * d.actual).sum() / (d.actual.sum() or 1.0))


def micro(function: Function, d: Decisions) -> float:
    """Return the value for the decisions on all labels taken together; 0 if the denominator is 0."""
    return float(np.nan_to_num(function(Decisions(*(values.sum(keepdims=True) for values in d)))).item())
