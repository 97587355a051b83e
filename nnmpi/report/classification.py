"""The scores of a classifier: those of ``evaluate``, how sure they are, and what a constant answer gets."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.report.intervals import Statistic, bootstrap, wilson
from nnmpi.report.predictions import Predictions
from nnmpi.report.ranking import Ranking
from nnmpi.report.score import Score, scores_of
from nnmpi.training.metrics import counts
from nnmpi.training.metrics.counts import Confusion
from nnmpi.training.metrics.predictions import class_losses

Array = npt.NDArray[Any]
BINS = 10
MOST_CONFUSIONS = 20


def confusion_matrix(predictions: Predictions) -> Array:
    """How many samples of each class (rows) were given each class (columns), or their weight where they have one."""
    return counts.matrix(_resampled(predictions)(np.ones(len(predictions.y))))


def scores(predictions: Predictions) -> list[Score]:
    """The scores with their intervals and what the best constant answer gets."""
    table, n = predictions.table, len(predictions.y)
    confusion = _resampled(predictions)
    shares = confusion_matrix(predictions).sum(1)
    shares /= shares.sum()
    statistics: dict[str, Statistic] = {
        "accuracy": lambda w: counts.accuracy(confusion(w)),
        "balanced_accuracy": lambda w: counts.balanced_accuracy(confusion(w)),
        "f1_macro": lambda w: _macro_f1(confusion(w)),
        **_of_probabilities(predictions),
    }
    intervals = bootstrap({name: f for name, f in statistics.items() if table.get(name) is not None}, n)
    if predictions.part.weights is None:
        intervals["accuracy"] = wilson(round(table["accuracy"] * n), n)
    some = shares[shares > 0]
    to_beat = {
        "accuracy": float(shares.max()),
        "balanced_accuracy": 1 / len(some),
        "f1_macro": 2 * float(shares.max()) / (1 + float(shares.max())) / len(some),
        "roc_auc": 0.5,
        "average_precision": float(shares[1] if len(shares) == 2 else some.mean()),
        "log_loss": float(-(some * np.log(some)).sum()),
    }
    return scores_of(predictions, intervals, to_beat)


def confusions(predictions: Predictions) -> list[tuple[str, str, float]]:
    """The most frequent confusions: actual class, predicted class, how often."""
    matrix = confusion_matrix(predictions)
    np.fill_diagonal(matrix, 0)
    classes = predictions.classes or []
    order = np.argsort(-matrix, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = zip(*np.unravel_index(order, matrix.shape), strict=True)
    return [(classes[a], classes[b], float(matrix[a, b])) for a, b in pairs if matrix[a, b]]


def calibration(predictions: Predictions) -> tuple[Array, Array, Array]:
    """How sure the model was, how often it was right, and of how many samples, in bins of equal width of the former."""
    assert predictions.probabilities is not None
    sure = predictions.probabilities[np.arange(len(predictions.y)), predictions.predicted]
    right = predictions.predicted == predictions.y
    bins = np.clip((sure * BINS).astype(int), 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    used = counts > 0
    mean = np.bincount(bins, sure, BINS)[used] / counts[used]
    return mean, np.bincount(bins, right, BINS)[used] / counts[used], counts[used]


def calibration_error(predictions: Predictions) -> float:
    """The mean distance of how sure the model was from how often it was right, weighted by samples (ECE, 10 bins)."""
    if predictions.probabilities is None:
        return math.nan
    sure, right, counts = calibration(predictions)
    return float(np.sum(np.abs(sure - right) * counts) / counts.sum())


def short(label: str, longest: int) -> str:
    """A label of at most so many characters."""
    return label if len(label) <= longest else label[: longest - 1] + "…"


def _of_probabilities(predictions: Predictions) -> dict[str, Statistic]:
    """The statistics that need probabilities."""
    probabilities, y, weights = predictions.probabilities, predictions.y, predictions.part.weights
    if probabilities is None:
        return {}
    codes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    rankings = [Ranking(y == code, probabilities[:, code], weights) for code in codes if (y == code).any()]
    outputs = probabilities.astype(predictions.part.x.dtype)  # as they were computed: how near to 1 they can be counts
    losses = class_losses(outputs[:, 1:] if predictions.model.targets.kind == "binary" else outputs, y)

    def log_loss(w: Array) -> float:
        w = w if weights is None else w * weights
        return float(w @ losses / w.sum())

    return {
        "roc_auc": lambda w: float(np.mean([ranking.roc_auc(w) for ranking in rankings])),
        "average_precision": lambda w: float(np.mean([ranking.average_precision(w) for ranking in rankings])),
        "log_loss": log_loss,
    }


def _resampled(predictions: Predictions) -> Callable[[Array], Confusion]:
    """A function that gives the confusion where each sample counts so many times."""
    k, weights = len(predictions.classes or ()), predictions.part.weights
    pairs, places = np.unique(predictions.y * k + predictions.predicted, return_inverse=True)
    true, given = np.divmod(pairs, k)

    def confusion(times: Array) -> Confusion:
        counted = times if weights is None else times * weights
        return Confusion(k, true, given, np.bincount(places, counted, len(pairs)).astype(np.float64))

    return confusion


def _macro_f1(confusion: Confusion) -> float:
    return counts.macro(counts.f1(confusion), confusion)
