"""The scores of a classifier with their intervals and baselines; confusions and calibration."""

import math
from collections.abc import Callable

import numpy as np

from nnmpi.arrays import Array
from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score, Statistic, mean_of, scores_of
from nnmpi.training.metrics import counts
from nnmpi.training.metrics.counts import Confusion
from nnmpi.training.metrics.predictions import class_losses
from nnmpi.training.metrics.ranking import Ranking

BINS = 10
MOST_CONFUSIONS = 20


def confusion_matrix(predictions: Predictions) -> Array:
    """Return the number of samples, or their weight, by actual class (rows) and predicted class (columns)."""
    return counts.matrix(_confusion_of_draws(predictions)(np.ones(len(predictions.y))))


def scores(predictions: Predictions) -> list[Score]:
    """Return the scores with their intervals and the scores of the best constant prediction."""
    confusion = _confusion_of_draws(predictions)
    shares = confusion_matrix(predictions).sum(1)
    shares /= shares.sum()
    statistics: dict[str, Statistic] = {
        "accuracy": lambda draws: counts.accuracy(confusion(draws)),
        "balanced_accuracy": lambda draws: counts.balanced_accuracy(confusion(draws)),
        "f1_macro": lambda draws: counts.macro(counts.f1, confusion(draws)),
        **_of_probabilities(predictions),
    }
    present = shares[shares > 0]
    baselines = {
        "accuracy": float(shares.max()),
        "balanced_accuracy": 1 / len(present),
        "f1_macro": 2 * float(shares.max()) / (1 + float(shares.max())) / len(present),
        "roc_auc": 0.5,
        "average_precision": float(shares[1] if len(shares) == 2 else present.mean()),
        "log_loss": float(-(present * np.log(present)).sum()),
    }
    return scores_of(predictions, statistics, baselines)


def confusions(predictions: Predictions) -> list[tuple[str, str, float]]:
    """Return the most frequent confusions: actual class, predicted class, number of samples."""
    matrix = confusion_matrix(predictions)
    np.fill_diagonal(matrix, 0)
    classes = predictions.classes or []
    order = np.argsort(-matrix, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = zip(*np.unravel_index(order, matrix.shape), strict=True)
    return [(classes[a], classes[b], float(matrix[a, b])) for a, b in pairs if matrix[a, b]]


def calibration(predictions: Predictions) -> tuple[Array, Array, Array]:
    """Return mean confidence, accuracy and weight of each bin of the confidence that has samples.

    The confidence is the probability of the predicted class. The bins have equal width. The weight of a bin is the sum
    of the weights of its samples, or their number.
    """
    assert predictions.probabilities is not None
    confidence = predictions.probabilities[np.arange(len(predictions.y)), predictions.predicted]
    correct = predictions.predicted == predictions.y
    bins = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    weights = predictions.weights
    totals = np.bincount(bins, weights, BINS)
    used = totals > 0
    mean = np.bincount(bins, weights * confidence, BINS)[used] / totals[used]
    return mean, np.bincount(bins, weights * correct, BINS)[used] / totals[used], totals[used]


def calibration_error(predictions: Predictions) -> float:
    """Return the expected calibration error: ``|confidence - accuracy|``, averaged over the samples in 10 bins."""
    if predictions.probabilities is None:
        return math.nan
    confidence, accuracy, weights = calibration(predictions)
    return float(np.sum(np.abs(confidence - accuracy) * weights) / weights.sum())


def short(label: str, longest: int) -> str:
    """Return `label`, cut to at most `longest` characters."""
    return label if len(label) <= longest else label[: longest - 1] + "…"


def _of_probabilities(predictions: Predictions) -> dict[str, Statistic]:
    """Return the statistics that need probabilities."""
    probabilities, y, weights = predictions.probabilities, predictions.y, predictions.weights
    if probabilities is None:
        return {}
    codes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    rankings = [Ranking(y == code, probabilities[:, code], weights) for code in codes if (y == code).any()]
    outputs = probabilities.astype(predictions.part.x.dtype)  # the network's precision limits how close to 1 they get
    losses = class_losses(outputs[:, 1:] if predictions.model.targets.kind == "binary" else outputs, y)
    return {
        "roc_auc": lambda draws: float(np.mean([ranking.roc_auc(draws) for ranking in rankings])),
        "average_precision": lambda draws: float(np.mean([ranking.average_precision(draws) for ranking in rankings])),
        "log_loss": mean_of(losses, weights),
    }


def _confusion_of_draws(predictions: Predictions) -> Callable[[Array], Confusion]:
    """Return a function: the number of draws of each sample in a resample → the confusion."""
    k, weights = len(predictions.classes or ()), predictions.weights
    pairs, pair_of_sample = np.unique(predictions.y * k + predictions.predicted, return_inverse=True)
    true, predicted = np.divmod(pairs, k)

    def confusion(draws: Array) -> Confusion:
        weight_of_pair = np.bincount(pair_of_sample, draws * weights, len(pairs))
        return Confusion(k, true, predicted, weight_of_pair.astype(np.float64))

    return confusion
