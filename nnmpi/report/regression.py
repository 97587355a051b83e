"""The scores and charts of a regression, in the units of its targets."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score
from nnmpi.report.statistics import Statistic, bootstrap
from nnmpi.report.svg import BLUE, FAINT, INK, chart

Array = npt.NDArray[Any]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
MOST_DOTS = 800
SEED = 0


def scores(predictions: Predictions) -> list[Score]:
    """The scores with their intervals and what always predicting the mean gets; of several outputs, their mean."""
    y, error = predictions.y, predictions.predicted - predictions.y
    squares, sizes, y_squares = np.square(error), np.abs(error), np.square(y)

    def r2(w: Array) -> float:
        n = w.sum()
        spread = w @ y_squares - np.square(w @ y) / n
        return float(np.mean(np.where(spread > 0, 1 - (w @ squares) / spread, np.nan)))

    statistics: dict[str, Statistic] = {
        "R²": r2,
        "mean absolute error": lambda w: float(np.mean(w @ sizes) / w.sum()),
        "root mean squared error": lambda w: float(np.mean(np.sqrt(w @ squares / w.sum()))),
        "median absolute error": lambda w: float(np.mean(np.median(np.repeat(sizes, w, axis=0), axis=0))),
    }
    distance = np.abs(y - np.median(y, axis=0))
    beat = {
        "R²": 0.0,
        "mean absolute error": float(np.mean(np.abs(y - y.mean(axis=0)))),
        "root mean squared error": float(np.mean(y.std(axis=0))),
        "median absolute error": float(np.mean(np.median(distance, axis=0))),
    }
    intervals = bootstrap(statistics, len(y))
    once = np.ones(len(y), np.int64)
    r_squared = predictions.scores.r2
    values = {name: statistic(once) for name, statistic in statistics.items()} | {
        "R²": np.nan if r_squared is None else r_squared
    }
    rows = [Score(name, value, intervals.get(name), beat[name], "bootstrap") for name, value in values.items()]
    return [*rows, Score("loss", predictions.scores.loss, None, None, "")]


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
    axes.plot(x, y, ".", color=BLUE, alpha=0.35, markersize=3, markeredgewidth=0)
