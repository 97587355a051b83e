"""The scores of a model as the report shows them, with confidence intervals over the samples of the test part."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.report.predictions import Predictions
from nnmpi.training.scoring import titles_of

Statistic = Callable[[Array], float]  # a score as a function of the number of draws of each sample

LEVEL = 0.95
Z = 1.959963984540054  # the normal distribution's 97.5 % quantile
RESAMPLES = 1000
WORK = 10**8  # samples × statistics × resamples, about; at least 100 resamples are drawn
SEED = 0


def mean_of(values: Array, weights: Array) -> Callable[[Array], Any]:
    """Return the weighted mean of `values`, shape (n,) or (n, outputs), as a function of the draws of each sample."""

    def mean(draws: Array) -> Any:
        w = draws * weights
        return w @ values / w.sum()

    return mean


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return Wilson's interval for the share of `correct` among `count` samples (E. B. Wilson 1927)."""
    share = correct / count
    centre = share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def bootstrap(statistics: dict[str, Statistic], count: int) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of each statistic over resamples of `count` samples, with a fixed seed.

    A statistic has no interval if it is not finite in half of the resamples or more.
    """
    random = np.random.default_rng(SEED)
    resamples = int(np.clip(WORK // (count * max(1, len(statistics))), 100, RESAMPLES))
    values = np.empty((resamples, len(statistics)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for row in values:
            weights = np.bincount(random.integers(0, count, count), minlength=count)
            row[:] = [statistic(weights) for statistic in statistics.values()]
    intervals = {}
    for name, column in zip(statistics, values.T, strict=True):
        numbers = column[np.isfinite(column)]
        if len(numbers) > resamples / 2:
            low, high = np.quantile(numbers, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
            intervals[name] = (low, high)
    return intervals


@dataclass(frozen=True)
class Score:
    """A score on the test part.

    Attributes
    ----------
    interval : (low, high) or None
        The 95 % confidence interval.
    baseline : float or None
        The score of the best constant prediction.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    baseline: float | None


def scores_of(predictions: Predictions, statistics: dict[str, Statistic], baselines: dict[str, float]) -> list[Score]:
    """Return the scores that are defined, in the order of the page, with intervals for those in `statistics`."""
    table, count = predictions.table, len(predictions.y)
    intervals = bootstrap({name: f for name, f in statistics.items() if table.get(name) is not None}, count)
    if "accuracy" in statistics and predictions.part.weights is None:
        intervals["accuracy"] = wilson(round(table["accuracy"] * count), count)
    names = titles_of(table) | {"loss": "loss"}
    defined = {name: label for name, label in names.items() if table.get(name) is not None}
    return [Score(label, table[name], intervals.get(name), baselines.get(name)) for name, label in defined.items()]
