"""The scores and charts of a regression, in the units of its targets."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.report.intervals import Statistic, bootstrap
from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score, scores_of
from nnmpi.report.svg import BLUE, FAINT, INK, chart
from nnmpi.training.metrics.regression import median

Array = npt.NDArray[Any]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
MOST_DOTS = 800
SEED = 0


def scores(predictions: Predictions) -> list[Score]:
    """The scores with their intervals and what the best constant answer gets; of several outputs, their mean."""
    y, weights = predictions.y, predictions.part.weights
    centred = y - y.mean(axis=0)
    statistics = _statistics(centred, predictions.predicted - y, weights)
    defined = {name: f for name, f in statistics.items() if predictions.table.get(name) is not None}
    counted = np.ones(len(y)) if weights is None else weights
    mean = counted @ y / counted.sum()
    middle = np.array([median(column, weights) for column in y.T])
    once = np.ones(len(y))
    to_beat = {name: f(once) for name, f in _statistics(centred, y - mean, weights).items()} | {"r2": 0.0}
    for name in ("mae", "median_absolute_error"):
        to_beat[name] = _statistics(centred, y - middle, weights)[name](once)
    return scores_of(predictions, bootstrap(defined, len(y)), to_beat)


def _statistics(y: Array, error: Array, weights: Array | None) -> dict[str, Statistic]:
    """The scores of errors, where each sample counts as often as it is drawn; the mean of `y` is about zero."""
    squares, sizes, y_squares = np.square(error), np.abs(error), np.square(y)

    def weighted(times: Array) -> Array:
        return np.asarray(times if weights is None else times * weights, np.float64)

    def r2(times: Array) -> float:
        w = weighted(times)
        spread = w @ y_squares - np.square(w @ y) / w.sum()
        return float(np.mean(np.where(spread > 0, 1 - (w @ squares) / spread, np.nan)))

    def mean(values: Array, times: Array) -> Array:
        w = weighted(times)
        return np.asarray(w @ values / w.sum())

    return {
        "r2": r2,
        "mae": lambda times: float(mean(sizes, times).mean()),
        "rmse": lambda times: float(np.sqrt(mean(squares, times)).mean()),
        "median_absolute_error": lambda times: float(np.mean([median(s, weighted(times)) for s in sizes.T])),
    }


def error_quantiles(predictions: Predictions) -> list[tuple[str, float]]:
    """How large the absolute error is at most in so many percent of the samples."""
    sizes = np.abs(predictions.predicted - predictions.y)
    return [(f"{100 * q:g} %", float(value)) for q, value in zip(QUANTILES, np.quantile(sizes, QUANTILES), strict=True)]


def charts(predictions: Predictions) -> list[str]:
    """Predicted against actual, residuals against predicted, and how the residuals spread."""
    some = np.random.default_rng(SEED).permutation(len(predictions.y))[:MOST_DOTS]
    y, predicted = predictions.y[some].ravel(), predictions.predicted[some].ravel()
    residuals = (predictions.y - predictions.predicted).ravel()
    with chart("predicted and actual") as against:
        low, high = float(min(y.min(), predicted.min())), float(max(y.max(), predicted.max()))
        against.axes.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        _dots(against.axes, predicted, y)
        against.axes.set_xlabel("predicted")
        against.axes.set_ylabel("actual")
    with chart("residuals") as left:
        left.axes.axhline(0, color=INK, linewidth=0.8)
        _dots(left.axes, predicted, y - predicted)
        left.axes.set_xlabel("predicted")
        left.axes.set_ylabel("actual − predicted")
    with chart("histogram of residuals") as spread:
        spread.axes.hist(residuals, bins=40, color=BLUE)
        spread.axes.axvline(0, color=FAINT, linewidth=0.8)
        spread.axes.set_xlabel("actual − predicted")
        spread.axes.set_ylabel("samples")
    return [against.svg, left.svg, spread.svg]


def _dots(axes: Any, x: Array, y: Array) -> None:
    axes.plot(x, y, ".", color=BLUE, alpha=0.55, markersize=5, markeredgewidth=0)
