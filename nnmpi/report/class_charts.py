"""The charts of a classifier: confusion matrix, ROC, precision-recall, calibration."""

import math
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from nnmpi.arrays import Array
from nnmpi.report.classification import calibration, confusion_matrix, short
from nnmpi.report.predictions import Predictions
from nnmpi.report.svg import BLUE, DASHES, INK, SERIES, VERMILLION, WHITE, chart
from nnmpi.training.metrics.ranking import Ranking

MOST_CURVES = 6  # classes in one chart, at most
MOST_IN_MATRIX = 40  # classes; with more there is no matrix chart
MOST_NUMBERS = 20  # classes of a matrix whose cells show numbers, at most
MOST_POINTS = 300  # points of a curve, at most


def matrix_chart(predictions: Predictions) -> str:
    """Return the chart of the confusion matrix; a darker cell is a larger share of its row. "" for too many classes."""
    matrix = confusion_matrix(predictions)
    k = len(matrix)
    if k > MOST_IN_MATRIX:
        return ""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), np.finfo(float).tiny)
    labels = [short(label, 10) for label in predictions.classes or ()]
    with chart("confusion matrix", 4.4, 4.2) as drawn:
        axes = drawn.axes
        axes.grid(False)
        for row, column in np.argwhere(matrix > 0).tolist():
            share = shares[row, column]
            colour = BLUE if row == column else VERMILLION
            opacity = 0.12 + 0.88 * share
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, alpha=opacity, linewidth=0))
            if k <= MOST_NUMBERS:
                text = f"{matrix[row, column]:,.6g}"
                size = min(9, 200 / k / max(2, len(text)))
                ink = WHITE if opacity > 0.6 else INK
                axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
        axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), aspect="equal", xlabel="predicted", ylabel="actual")
        size = max(4.5, min(8, 130 / k))
        axes.set_xticks(range(k), labels, rotation=0 if k * max(map(len, labels)) < 40 else 90, fontsize=size)
        axes.set_yticks(range(k), labels, fontsize=size)
    return drawn.svg


def curve_charts(predictions: Predictions) -> list[str]:
    """Return the ROC, precision-recall and calibration charts; [] for a model without probabilities."""
    probabilities, y = predictions.probabilities, predictions.y
    if probabilities is None:
        return []
    classes = predictions.classes or []
    counts = np.bincount(y, minlength=len(classes))
    by_f1 = sorted(range(len(classes)), key=lambda code: predictions.table["classes"][code]["f1"] or 0)
    shown = [code for code in ([1] if len(classes) == 2 else by_f1) if 0 < counts[code] < len(y)]
    rankings = {
        classes[code]: Ranking(y == code, probabilities[:, code], predictions.weights)
        for code in sorted(shown[:MOST_CURVES])
    }
    return [*ranking_charts(rankings, "class"), _calibration_chart(predictions)]


def ranking_charts(rankings: dict[str, Ranking], title: str) -> list[str]:
    """Return the ROC and the precision-recall chart of up to `MOST_CURVES` classes or labels."""
    with chart("ROC curves") as roc, chart("precision and recall") as precision_recall:
        for i, (name, ranking) in enumerate(rankings.items()):
            style: dict[str, Any] = {"color": SERIES[i], "linestyle": DASHES[i % 2], "label": short(name, 14)}
            false_rate, recall, precision = ranking.curves()
            roc.axes.plot(*_thinned(np.append(0, false_rate), np.append(0, recall)), **style)
            precision_recall.axes.plot(*_thinned(recall, precision), **style)
        roc.axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        roc.axes.set(xlabel="false positive rate", ylabel="true positive rate")
        precision_recall.axes.set(xlabel="recall", ylabel="precision", xlim=(-0.03, 1.03), ylim=(0, 1.03))
        for drawn in (roc, precision_recall):
            if rankings:
                drawn.figure.legend(loc="outside right upper", title=title)
    return [roc.svg, precision_recall.svg]


def _calibration_chart(predictions: Predictions) -> str:
    confidence, accuracy, weights = calibration(predictions)
    with chart("calibration") as drawn:
        drawn.axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        drawn.axes.plot(confidence, accuracy, color=BLUE)
        drawn.axes.scatter(confidence, accuracy, s=8 + 60 * weights / weights.max(), color=BLUE, linewidths=0)
        drawn.axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
        drawn.axes.set(xlabel="probability of the predicted class", ylabel="share of correct predictions")
    return drawn.svg


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    step = math.ceil(len(x) / MOST_POINTS)
    keep = np.unique(np.append(np.arange(0, len(x), step), len(x) - 1))
    return x[keep], y[keep]
