"""Metrics of predicted numbers, in the units of the data; definitions as in scikit-learn.

With several outputs a metric is the mean over the outputs. An undefined value is NaN.
"""

import numpy as np

from nnmpi.arrays import Floats
from nnmpi.training.metrics.predictions import NumberPredictions, PartSamples


def mean_absolute_error(p: NumberPredictions) -> float:
    """Return ``mean |y - ŷ|``."""
    return float((p.samples.mean(p.errors) * p.unit).mean())


def root_mean_squared_error(p: NumberPredictions) -> float:
    """Return ``√ mean (y - ŷ)²``."""
    return float((np.sqrt(p.samples.mean(np.square(p.errors))) * p.unit).mean())


def median_absolute_error(p: NumberPredictions) -> float:
    """Return the median of ``|y - ŷ|``."""
    weights = p.samples.gather_weights()
    return float(np.mean(np.array([median(p.samples.gather(errors), weights) for errors in p.errors.T]) * p.unit))


def r2(p: NumberPredictions) -> float:
    """Return ``1 - Σ (y - ŷ)² / Σ (y - ȳ)²``; for a constant target 1 if all predictions are exact, else 0."""
    return r2_of(p.samples.total(np.square(p.errors)), p.samples, p.true, p.unit)


def r2_of(squared: Floats, samples: PartSamples, true: Floats, unit: Floats | float) -> float:
    """Return R² from the sum of the squared errors of each output, in multiples of `unit`. All ranks take part."""
    used = slice(None) if samples.weights is None else samples.weights > 0
    first = samples.world.gather_rows(true[used][:1])
    if samples.count < 2 or not len(first):
        return np.nan
    shifted = (true - first[0]) / unit  # exactly 0 for a constant target, like its mean
    spread = samples.total(np.square(shifted - samples.mean(shifted)))
    outputs = np.where(spread == 0, squared == 0, 1 - squared / np.where(spread == 0, 1, spread))
    return float(outputs.mean())


def median(values: Floats, weights: Floats | None = None) -> float:
    """Return the value with half of the weight below it; the mean of two values if the halves meet between them."""
    if weights is None:
        return float(np.median(values)) if len(values) else np.nan
    used = weights > 0
    values, weights = values[used], weights[used]
    if not len(values):
        return np.nan
    ascending = np.argsort(values, kind="stable")
    values, cumulative = values[ascending], np.cumsum(weights[ascending])
    half = cumulative[-1] / 2
    middle = min(int(np.searchsorted(cumulative, half)), len(values) - 1)
    if cumulative[middle] - half > np.finfo(np.float64).eps:
        return float(values[middle])
    return float((values[middle] + values[min(middle + 1, len(values) - 1)]) / 2)
