"""The scores and charts of a classifier."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score
from nnmpi.report.statistics import Ranking, Statistic, bootstrap, wilson
from nnmpi.report.svg import BLUE, DASHES, INK, SERIES, VERMILLION, WHITE, chart

Array = npt.NDArray[Any]
MOST_CURVES = 6  # classes in one chart
MOST_IN_MATRIX = 40  # classes; more are a list of the most frequent confusions
MOST_NUMBERS = 20  # classes of a matrix with numbers in it
MOST_POINTS = 300  # of a curve
BINS = 10


@dataclass(frozen=True)
class ClassRow:
    """The scores of one class."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def confusion_matrix(predictions: Predictions) -> Array:
    """How many samples of each class (rows) were given each class (columns)."""
    k = len(predictions.classes or ())
    return np.bincount(predictions.y * k + predictions.predicted, minlength=k * k).reshape(k, k)


def class_rows(predictions: Predictions) -> list[ClassRow]:
    """The table of classes; a ratio of nothing is 0, as scikit-learn's ``zero_division=0``."""
    matrix = confusion_matrix(predictions)
    precision, recall, f1 = _by_class(matrix)
    columns = precision.tolist(), recall.tolist(), f1.tolist(), matrix.sum(1).tolist()
    return [ClassRow(*row) for row in zip(predictions.classes or (), *columns, strict=True)]


def scores(predictions: Predictions) -> list[Score]:
    """The scores with their intervals and what the best constant answer gets."""
    matrix = confusion_matrix(predictions)
    n, y = int(matrix.sum()), predictions.y
    shares = matrix.sum(1) / n
    present = np.flatnonzero(shares)
    scores = predictions.scores
    accuracy = scores.accuracy
    assert accuracy is not None  # these are classes
    statistics: dict[str, Statistic] = {
        "balanced accuracy": lambda w: _balanced_accuracy(_matrix(predictions, w)),
        "macro F1": lambda w: float(np.mean(_by_class(_matrix(predictions, w))[2])),
    }
    beat = {"balanced accuracy": 1 / len(present), "macro F1": _f1_of_largest(shares)}
    probabilities = predictions.probabilities
    if probabilities is not None and len(present) == len(shares):
        codes = [1] if len(shares) == 2 else range(len(shares))
        rankings = [Ranking(y == code, probabilities[:, code]) for code in codes]
        of = f" of {(predictions.classes or [])[1]}" if len(shares) == 2 else ", mean of one class against the rest"
        statistics["ROC AUC" + of] = lambda w: float(np.mean([ranking.roc_auc(w) for ranking in rankings]))
        statistics["average precision" + of] = lambda w: float(np.mean([r.average_precision(w) for r in rankings]))
        beat["ROC AUC" + of] = 0.5
        beat["average precision" + of] = float(np.mean([shares[code] for code in codes]))
    intervals = bootstrap(statistics, n)
    once = np.ones(n, np.int64)
    rows = [Score("accuracy", accuracy, wilson(round(accuracy * n), n), float(shares.max()), "Wilson")]
    rows += [Score(name, f(once), intervals.get(name), beat[name], "bootstrap") for name, f in statistics.items()]
    return [*rows, Score("loss", scores.loss, None, None, "")]


def confusions(predictions: Predictions) -> list[tuple[str, str, int]]:
    """The most frequent confusions: actual class, predicted class, how often."""
    matrix = confusion_matrix(predictions)
    np.fill_diagonal(matrix, 0)
    classes = predictions.classes or []
    order = np.argsort(-matrix, axis=None, kind="stable")[:20]
    pairs = zip(*np.unravel_index(order, matrix.shape), strict=True)
    return [(classes[a], classes[b], int(matrix[a, b])) for a, b in pairs if matrix[a, b]]


def matrix_chart(predictions: Predictions) -> str:
    """The confusion matrix as a picture: the darker, the larger a cell's share of its row; "" for too many classes."""
    matrix = confusion_matrix(predictions)
    k = len(matrix)
    if k > MOST_IN_MATRIX:
        return ""
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    labels = [short(label, 10) for label in predictions.classes or ()]
    with chart("confusion matrix", 4.4, 4.2) as drawn:
        axes = drawn.axes
        axes.grid(False)
        for row, column in np.argwhere(matrix > 0).tolist():
            share = shares[row, column]
            colour = BLUE if row == column else VERMILLION
            opacity = 0.12 + 0.88 * share
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(_square(corner, colour, opacity))
            if k <= MOST_NUMBERS:
                text = f"{matrix[row, column]}"
                size = min(9, 110 / k / max(2, len(text)))
                ink = WHITE if opacity > 0.6 else INK
                axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
        axes.set_xlim(-0.5, k - 0.5)
        axes.set_ylim(k - 0.5, -0.5)
        axes.set_aspect("equal")
        size = max(4.5, min(8, 130 / k))
        axes.set_xticks(range(k), labels, rotation=0 if max(map(len, labels)) < 3 else 90, fontsize=size)
        axes.set_yticks(range(k), labels, fontsize=size)
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")
    return drawn.svg


def curve_charts(predictions: Predictions) -> list[str]:
    """ROC, precision and recall, calibration; [] where the model has no probabilities."""
    probabilities, y = predictions.probabilities, predictions.y
    if probabilities is None:
        return []
    classes = predictions.classes or []
    counts = np.bincount(y, minlength=len(classes))
    worst = np.argsort(_by_class(confusion_matrix(predictions))[2], kind="stable").tolist()
    shown = [code for code in ([1] if len(classes) == 2 else worst) if 0 < counts[code] < len(y)]
    shown = sorted(shown[:MOST_CURVES])
    with chart("ROC curves") as roc, chart("precision and recall") as precision_recall:
        for i, code in enumerate(shown):
            style: dict[str, Any] = {"color": SERIES[i], "linestyle": DASHES[i % 2], "label": short(classes[code], 14)}
            false_rate, recall, precision = Ranking(y == code, probabilities[:, code]).curves()
            roc.axes.plot(*_thinned(np.append(0, false_rate), np.append(0, recall)), **style)
            precision_recall.axes.plot(*_thinned(recall, precision), **style)
        roc.axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        roc.axes.set_xlabel("false positive rate")
        roc.axes.set_ylabel("true positive rate")
        precision_recall.axes.set_xlabel("recall")
        precision_recall.axes.set_ylabel("precision")
        precision_recall.axes.set_xlim(-0.03, 1.03)
        precision_recall.axes.set_ylim(0, 1.03)
        for drawn in (roc, precision_recall):
            if shown:
                drawn.figure.legend(loc="outside right upper", title="class")
    return [roc.svg, precision_recall.svg, _calibration_chart(predictions)]


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


def _calibration_chart(predictions: Predictions) -> str:
    sure, right, counts = calibration(predictions)
    with chart("calibration") as drawn:
        drawn.axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        drawn.axes.plot(sure, right, color=BLUE)
        drawn.axes.scatter(sure, right, s=8 + 60 * counts / counts.max(), color=BLUE, linewidths=0)
        drawn.axes.set_xlim(0, 1.03)
        drawn.axes.set_ylim(0, 1.03)
        drawn.axes.set_xlabel("probability of the predicted class")
        drawn.axes.set_ylabel("share that is right")
    return drawn.svg


def _square(corner: tuple[float, float], colour: str, opacity: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, facecolor=colour, alpha=opacity, linewidth=0)


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    step = math.ceil(len(x) / MOST_POINTS)
    keep = np.unique(np.append(np.arange(0, len(x), step), len(x) - 1))
    return x[keep], y[keep]


def _matrix(predictions: Predictions, weights: Array) -> Array:
    k = len(predictions.classes or ())
    cells = predictions.y * k + predictions.predicted
    return np.bincount(cells, weights, minlength=k * k).reshape(k, k)


def _by_class(matrix: Array) -> tuple[Array, Array, Array]:
    right, given, actual = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    return right / np.maximum(given, 1), right / np.maximum(actual, 1), 2 * right / np.maximum(given + actual, 1)


def _balanced_accuracy(matrix: Array) -> float:
    """The mean recall of the classes that have samples."""
    actual = matrix.sum(1)
    return float(np.mean(np.diag(matrix)[actual > 0] / actual[actual > 0]))


def _f1_of_largest(shares: Array) -> float:
    """The macro F1 of always saying the largest class."""
    largest = float(shares.max())
    return 2 * largest / (1 + largest) / len(shares)
