"""Metrics of predictions, besides the loss. Each is a plain function, exact on any number of ranks."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nnmpi.arrays import Array
from nnmpi.training.metrics import counts, labels, ranking, regression
from nnmpi.training.metrics.counts import Function
from nnmpi.training.metrics.labels import LabelPredictions
from nnmpi.training.metrics.predictions import ClassPredictions, NumberPredictions, class_losses


class Metric(NamedTuple):
    """A metric of the predictions of one task."""

    function: Callable[[Any], float]  # of predictions; NaN where undefined; all ranks take part
    larger_is_better: bool = True


Predictions = ClassPredictions | LabelPredictions | NumberPredictions


def score(name: str, predictions: Predictions) -> float | None:
    """Return the value of the metric `name`; None where it is undefined. All ranks take part."""
    return _defined(METRICS[predictions.task][name].function(predictions))


def larger_is_better(name: str) -> bool:
    """Return whether larger values of a metric, or of the ``loss``, are better. This is the same in every task."""
    return next((metrics[name].larger_is_better for metrics in METRICS.values() if name in metrics), False)


def of_classes(p: ClassPredictions) -> list[dict[str, Any]]:
    """Return the samples, precision, recall and F1 of each class. All ranks take part."""
    return _rows(_per_class(p))


def of_labels(p: LabelPredictions) -> list[dict[str, Any]]:
    """Return, for each label, the samples that have it, and its metrics. All ranks take part."""
    return _rows({**_per_class(p), "roc_auc": p.roc_auc, "average_precision": p.average_precision})


def _per_class(p: ClassPredictions | LabelPredictions) -> dict[str, Array]:
    samples = p.counts.actual if p.samples.weights is not None else p.counts.actual.astype(np.int64)
    return {"samples": samples, **{name: function(p.counts) for name, function in PER_CLASS.items()}}


def _rows(columns: dict[str, Array]) -> list[dict[str, Any]]:
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [{name: _defined(value) for name, value in zip(columns, row, strict=True)} for row in rows]


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _log_loss(p: ClassPredictions) -> float:
    """Return the mean of `class_losses`; undefined without probabilities."""
    if not p.are_probabilities:
        return np.nan
    return float(p.samples.mean(class_losses(p.outputs, p.true)[:, None])[0])


def _top(k: int, p: ClassPredictions) -> float:
    """Return the share of the samples whose class is among the `k` likeliest; undefined for `k` classes or fewer."""
    if k >= p.classes:
        return np.nan
    return float(p.samples.mean(ranking.is_among_top(k, p.true, p.outputs)[:, None])[0])


def _ranked(metric: Callable[..., float], p: ClassPredictions) -> float:
    """Return a ranking metric of the second of two classes, or the mean over more classes where it is defined.

    Each class is ranked against all others.
    """
    true, weights = p.samples.gather(p.true), p.samples.gather_weights()
    codes = [1] if p.classes == 2 else range(p.classes)
    values = [metric(true == code, p.samples.gather(p.score(code)), weights) for code in codes]
    return counts.mean_defined(np.array(values))


def _averaged(
    function: Function, average: Callable[[Function, Any], float], p: ClassPredictions | LabelPredictions
) -> float:
    return average(function, p.counts)


PER_CLASS = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}  # or label


def _averages(module: Any) -> dict[str, Metric]:
    """Return the averages of precision, recall and F1 over classes or labels, by the functions in `module`."""
    averages = {"macro": module.macro, "weighted": module.weighted, "micro": module.micro}
    return {
        f"{name}_{how}": Metric(partial(_averaged, function, average))
        for name, function in PER_CLASS.items()
        for how, average in averages.items()
    }


# task → name → metric
METRICS: dict[str, dict[str, Metric]] = {
    "classification": {
        "accuracy": Metric(lambda p: counts.accuracy(p.counts)),
        "balanced_accuracy": Metric(lambda p: counts.balanced_accuracy(p.counts)),
        **_averages(counts),
        "log_loss": Metric(_log_loss, larger_is_better=False),
        "roc_auc": Metric(partial(_ranked, ranking.roc_auc)),
        "average_precision": Metric(partial(_ranked, ranking.average_precision)),
        "top_2_accuracy": Metric(partial(_top, 2)),
        "top_5_accuracy": Metric(partial(_top, 5)),
        "largest_class_share": Metric(lambda p: counts.largest_class_share(p.counts)),
    },
    "multilabel": {
        "accuracy": Metric(labels.accuracy),
        "hamming_loss": Metric(labels.hamming_loss, larger_is_better=False),
        **_averages(labels),
        "log_loss": Metric(labels.log_loss, larger_is_better=False),
        "roc_auc": Metric(lambda p: counts.mean_defined(p.roc_auc)),
        "average_precision": Metric(lambda p: counts.mean_defined(p.average_precision)),
    },
    "regression": {
        "r2": Metric(regression.r2),
        "mae": Metric(regression.mean_absolute_error, larger_is_better=False),
        "rmse": Metric(regression.root_mean_squared_error, larger_is_better=False),
        "median_absolute_error": Metric(regression.median_absolute_error, larger_is_better=False),
    },
}
