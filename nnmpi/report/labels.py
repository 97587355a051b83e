"""The scores and charts of a multilabel model: a sample may have several labels."""

import numpy as np

from nnmpi.arrays import Array
from nnmpi.report.class_charts import MOST_CURVES, ranking_charts
from nnmpi.report.predictions import Predictions
from nnmpi.report.score import Score, Statistic, mean_of, scores_of
from nnmpi.training.metrics import labels
from nnmpi.training.metrics.counts import Decisions, f1
from nnmpi.training.metrics.predictions import label_losses
from nnmpi.training.metrics.ranking import Ranking


def scores(predictions: Predictions) -> list[Score]:
    """Return the scores with their intervals and the scores of the best constant prediction."""
    y, weights = predictions.y, predictions.weights
    total = weights.sum()
    shares = weights @ y / total
    sets, set_of_sample = np.unique(y, axis=0, return_inverse=True)
    present = shares[shares > 0]
    with_and_without = np.array([shares, 1 - shares])
    baselines = {
        "accuracy": float(np.bincount(set_of_sample.reshape(-1), weights, len(sets)).max() / total),
        "hamming_loss": float(np.minimum(shares, 1 - shares).mean()),
        "f1_macro": float((2 * shares / (1 + shares)).mean()),
        "f1_micro": float(2 * shares.mean() / (1 + shares.mean())),
        "roc_auc": 0.5,
        "average_precision": float(present.mean()) if len(present) else 0.0,
        "log_loss": float(-(with_and_without * np.log(np.where(with_and_without > 0, with_and_without, 1))).sum()),
    }
    return scores_of(predictions, _statistics(predictions), baselines)


def _statistics(predictions: Predictions) -> dict[str, Statistic]:
    """Return the scores as functions of the number of draws of each sample."""
    y, predicted, weights = predictions.y, predictions.predicted, predictions.weights
    assert predictions.probabilities is not None
    columns = [np.asarray(values, np.float64) for values in (y & predicted, predicted, y)]
    wrong = (y != predicted).mean(axis=1)
    losses = label_losses(predictions.probabilities.astype(predictions.part.x.dtype), y)  # in the network's precision
    pairs = zip(y.T, predictions.probabilities.T, strict=True)
    present = [(Ranking(true, p, weights), not true.all()) for true, p in pairs if true.any()]
    rankings = [ranking for ranking, _ in present]
    mixed = [ranking for ranking, some_lack_it in present if some_lack_it]  # labels that not every sample has

    def decisions(draws: Array) -> Decisions:
        return Decisions(*((draws * weights) @ values for values in columns))

    return {
        "accuracy": mean_of(wrong == 0, weights),
        "hamming_loss": mean_of(wrong, weights),
        "f1_macro": lambda draws: labels.macro(f1, decisions(draws)),
        "f1_micro": lambda draws: labels.micro(f1, decisions(draws)),
        "roc_auc": lambda draws: float(np.mean([ranking.roc_auc(draws) for ranking in mixed])),
        "average_precision": lambda draws: float(np.mean([ranking.average_precision(draws) for ranking in rankings])),
        "log_loss": mean_of(losses, weights),
    }


def curve_charts(predictions: Predictions) -> list[str]:
    """Return the ROC and precision-recall charts of the labels with the lowest F1."""
    rows, y, probabilities = predictions.table["labels"], predictions.y, predictions.probabilities
    assert probabilities is not None
    mixed = [i for i, true in enumerate(y.T) if true.any() and not true.all()]
    shown = sorted(sorted(mixed, key=lambda i: rows[i]["f1"] or 0)[:MOST_CURVES])
    weights = predictions.weights
    rankings = {rows[i]["label"]: Ranking(y[:, i], probabilities[:, i], weights) for i in shown}
    return ranking_charts(rankings, "label")
