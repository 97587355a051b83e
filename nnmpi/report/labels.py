"""The scores and charts of labels of which a sample may have several."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.report.class_charts import MOST_CURVES, ranking_charts
from nnmpi.report.intervals import Statistic, bootstrap, wilson
from nnmpi.report.predictions import Predictions
from nnmpi.report.ranking import Ranking
from nnmpi.report.score import Score, scores_of
from nnmpi.training.metrics import labels
from nnmpi.training.metrics.labels import Decisions
from nnmpi.training.metrics.predictions import label_losses

Array = npt.NDArray[Any]


def scores(predictions: Predictions) -> list[Score]:
    """The scores with their intervals and what the best constant answer gets."""
    table, y, n, weights = predictions.table, predictions.y, len(predictions.y), predictions.part.weights
    statistics = _statistics(predictions)
    intervals = bootstrap({name: f for name, f in statistics.items() if table.get(name) is not None}, n)
    if weights is None:
        intervals["accuracy"] = wilson(round(table["accuracy"] * n), n)
    counted = np.ones(n) if weights is None else weights
    shares = counted @ y / counted.sum()
    sets, places = np.unique(y, axis=0, return_inverse=True)
    some = shares[shares > 0]
    both = np.array([shares, 1 - shares])
    to_beat = {
        "accuracy": float(np.bincount(places.reshape(-1), counted, len(sets)).max() / counted.sum()),
        "hamming_loss": float(np.minimum(shares, 1 - shares).mean()),
        "f1_macro": float((2 * shares / (1 + shares)).mean()),
        "f1_micro": float(2 * shares.mean() / (1 + shares.mean())),
        "roc_auc": 0.5,
        "average_precision": float(some.mean()) if len(some) else 0.0,
        "log_loss": float(-(both * np.log(np.where(both > 0, both, 1))).sum()),
    }
    return scores_of(predictions, intervals, to_beat)


def _statistics(predictions: Predictions) -> dict[str, Statistic]:
    """The scores, where each sample counts so many times."""
    y, predicted, weights = predictions.y, predictions.predicted, predictions.part.weights
    assert predictions.probabilities is not None
    columns = [np.asarray(values, np.float64) for values in (y & predicted, predicted, y)]
    wrong = (y != predicted).mean(axis=1)
    losses = label_losses(predictions.probabilities.astype(predictions.part.x.dtype), y)  # as they were computed
    pairs = zip(y.T, predictions.probabilities.T, strict=True)
    present = [(Ranking(true, p, weights), not true.all()) for true, p in pairs if true.any()]
    rankings, both = [ranking for ranking, _ in present], [ranking for ranking, some_lack_it in present if some_lack_it]

    def counted(times: Array) -> Array:
        return np.asarray(times if weights is None else times * weights, np.float64)

    def mean(values: Array, times: Array) -> float:
        w = counted(times)
        return float(w @ values / w.sum())

    def decisions(times: Array) -> Decisions:
        w = counted(times)
        return Decisions(*(w @ values for values in columns))

    return {
        "accuracy": lambda times: mean(wrong == 0, times),
        "hamming_loss": lambda times: mean(wrong, times),
        "f1_macro": lambda times: labels.macro(labels.f1, decisions(times)),
        "f1_micro": lambda times: labels.micro(labels.f1, decisions(times)),
        "roc_auc": lambda times: float(np.mean([ranking.roc_auc(times) for ranking in both])),
        "average_precision": lambda times: float(np.mean([ranking.average_precision(times) for ranking in rankings])),
        "log_loss": lambda times: mean(losses, times),
    }


def curve_charts(predictions: Predictions) -> list[str]:
    """ROC, precision and recall of the labels with the lowest F1."""
    rows, y, probabilities = predictions.table["labels"], predictions.y, predictions.probabilities
    assert probabilities is not None
    both = [i for i, true in enumerate(y.T) if true.any() and not true.all()]
    shown = sorted(sorted(both, key=lambda i: rows[i]["f1"] or 0)[:MOST_CURVES])
    weights = predictions.part.weights
    rankings = {rows[i]["label"]: Ranking(y[:, i], probabilities[:, i], weights) for i in shown}
    return ranking_charts(rankings, "label")
