"""The scores and charts of a regression, in the units of its targets."""

from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score, Statistic, mean_of, scores_of
from nnmpi.report.svg import BLUE, FAINT, INK, chart
from nnmpi.training.metrics.regression import median

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
MOST_DOTS = 800
SEED = 0


def scores(predictions: Predictions) -> list[Score]:
    """Return the scores, averaged over the outputs, with their intervals and the scores of the best constants."""
    y, weights = predictions.y, predictions.weights
    assert predictions.model.target_scaler
    unit = predictions.model.target_scaler.scale
    centred = y - y.mean(axis=0)
    statistics = _statistics(centred, predictions.predicted - y, weights, unit)
    mean = weights @ y / weights.sum()
    medians = np.array([median(column, weights) for column in y.T])
    once = np.ones(len(y))
    baselines = {name: f(once) for name, f in _statistics(centred, y - mean, weights, unit).items()} | {"r2": 0.0}
    for name in ("mae", "median_absolute_error"):
        baselines[name] = _statistics(centred, y - medians, weights, unit)[name](once)
    return scores_of(predictions, statistics, baselines)


def _statistics(y: Array, error: Array, weights: Array, unit: Array) -> dict[str, Statistic]:
    """Return the scores as functions of the number of draws of each sample; the mean of `y` is about zero.

    They are computed in multiples of `unit`, whose squares do not leave float64.
    """
    y, error = y / unit, error / unit
    squares, sizes, y_squares = np.square(error), np.abs(error), np.square(y)

    def r2(draws: Array) -> float:
        w = draws * weights
        spread = w @ y_squares - np.square(w @ y) / w.sum()
        return float(np.mean(1 - (w @ squares) / np.where(spread > 0, spread, np.nan)))

    mean_size, mean_square = mean_of(sizes, weights), mean_of(squares, weights)
    return {
        "r2": r2,
        "mae": lambda draws: float((mean_size(draws) * unit).mean()),
        "rmse": lambda draws: float((np.sqrt(mean_square(draws)) * unit).mean()),
        "median_absolute_error": lambda draws: float(
            np.mean(np.array([median(s, draws * weights) for s in sizes.T]) * unit)
        ),
    }


def error_quantiles(predictions: Predictions) -> list[tuple[str, float]]:
    """Return the quantiles of the absolute error, as pairs of a percentage of the samples and their largest error."""
    sizes = np.abs(predictions.predicted - predictions.y)
    if predictions.part.weights is None:
        values = np.quantile(sizes, QUANTILES)
    else:
        weights = np.repeat(predictions.weights, sizes.shape[1])
        values = np.quantile(sizes.ravel(), QUANTILES, weights=weights, method="inverted_cdf")
    return [(f"{100 * q:g} %", float(value)) for q, value in zip(QUANTILES, values, strict=True)]


def charts(predictions: Predictions) -> list[str]:
    """Return three charts: predicted and actual values, residuals, and the histogram of the residuals."""
    sample = np.random.default_rng(SEED).permutation(len(predictions.y))[:MOST_DOTS]
    y, predicted = predictions.y[sample].ravel(), predictions.predicted[sample].ravel()
    residuals = (predictions.y - predictions.predicted).ravel()
    with chart("predicted and actual") as scatter:
        low, high = float(min(y.min(), predicted.min())), float(max(y.max(), predicted.max()))
        scatter.axes.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        _dots(scatter.axes, predicted, y)
        scatter.axes.set(xlabel="predicted", ylabel="actual")
    with chart("residuals") as residual_plot:
        residual_plot.axes.axhline(0, color=INK, linewidth=0.8)
        _dots(residual_plot.axes, predicted, y - predicted)
        residual_plot.axes.set(xlabel="predicted", ylabel="actual − predicted")
    with chart("histogram of residuals") as histogram:
        weights = np.repeat(predictions.weights, predictions.y.shape[1])
        histogram.axes.hist(residuals, bins=40, color=BLUE, weights=weights)
        histogram.axes.axvline(0, color=FAINT, linewidth=0.8)
        counted = "samples" if predictions.part.weights is None else "weight of the samples"
        histogram.axes.set(xlabel="actual − predicted", ylabel=counted)
    return [scatter.svg, residual_plot.svg, histogram.svg]


def _dots(axes: Any, x: Array, y: Array) -> None:
    axes.plot(x, y, ".", color=BLUE, alpha=0.55, markersize=5, markeredgewidth=0)
