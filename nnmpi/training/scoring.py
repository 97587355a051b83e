"""All scores of a network on a part of the data, as ``evaluate`` and the end of ``train`` print them."""

from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.parts import Part
from nnmpi.data.scaler import Scaler
from nnmpi.data.targets import Targets
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network
from nnmpi.nn.predict import CHUNK
from nnmpi.training.evaluation import Scores
from nnmpi.training.metrics import METRICS, Predictions, counts, of_classes, of_labels, score
from nnmpi.training.metrics.labels import LabelPredictions
from nnmpi.training.metrics.predictions import ClassPredictions, NumberPredictions, PartSamples

MOST_IN_MATRIX = 100  # classes; with more there is no confusion matrix

# metric → title in tables and reports, in the order in which they show the metrics
TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1 (mean of the classes)",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "top_5_accuracy": "top-5 accuracy",
    "log_loss": "log loss",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "median_absolute_error": "median absolute error",
}
TITLES_OF_LABELS = {
    "accuracy": "accuracy (all labels)",
    "hamming_loss": "Hamming loss",
    "f1_macro": "F1 (mean of the labels)",
    "f1_micro": "F1 (all decisions)",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
}


def titles_of(scores: dict[str, Any]) -> dict[str, str]:
    """Return the titles, by metric, for scores that `all_scores` returned."""
    return TITLES_OF_LABELS if "labels" in scores else TITLES


def all_scores(
    scores: Scores, network: Network, part: Part, targets: Targets, world: World, target_scaler: Scaler | None
) -> dict[str, Any]:
    """Return the loss, all metrics, and the metrics of each class or label. All ranks take part.

    The values are plain numbers, None where a metric is undefined. `scores` come from `evaluate`.
    """
    predictions = predict_part(network, part, targets, world, target_scaler)
    result: dict[str, Any] = {"samples": scores.samples, "loss": scores.loss}
    if part.weights is not None:
        result["weight"] = predictions.samples.total_weight
    result |= {name: score(name, predictions) for name in metrics_of(targets)}
    if isinstance(predictions, LabelPredictions):
        rows = zip(targets.labels, of_labels(predictions), strict=True)
        result["labels"] = [{"label": label, **row} for label, row in rows]
    if isinstance(predictions, ClassPredictions):
        assert targets.classes is not None
        labels = targets.classes.tolist()
        result["classes"] = [{"class": c, **r} for c, r in zip(labels, of_classes(predictions), strict=True)]
        if len(labels) <= MOST_IN_MATRIX:
            matrix = counts.matrix(predictions.counts)
            result["confusion_matrix"] = (matrix if part.weights is not None else matrix.astype(np.int64)).tolist()
    return result


def metrics_of(targets: Targets) -> list[str]:
    """Return the names of the metrics for these targets."""
    return list(METRICS[targets.task])


def predict_part(
    network: Network, part: Part, targets: Targets, world: World, target_scaler: Scaler | None
) -> Predictions:
    """Return the predictions for a part, with the true targets. All ranks take part."""
    samples = PartSamples(world, part.sizes, part.weights)
    outputs, codes = outputs_of(network, part, targets)
    if targets.task == "multilabel":
        return LabelPredictions(samples, part.y, codes, outputs)
    if targets.task == "regression":
        assert part.numbers is not None
        predicted = outputs.astype(np.float64)
        if target_scaler is None:
            return NumberPredictions(samples, part.numbers, predicted)
        predicted = predicted * target_scaler.scale + target_scaler.mean
        unit = np.ldexp(1.0, np.frexp(target_scaler.scale)[1] - 1)  # a power of two: it rounds nothing
        return NumberPredictions(samples, part.numbers, predicted, unit)
    assert targets.classes is not None
    architecture = network.architecture
    sums_to_one = architecture.output_activation == "softmax" or len(targets.classes) > architecture.sizes[-1]
    return ClassPredictions(samples, part.y, codes, outputs, len(targets.classes), sums_to_one)


def outputs_of(network: Network, part: Part, targets: Targets) -> tuple[Array, Array]:
    """Return the outputs, shape (n, outputs), and the predicted codes (`Targets.decided`) of this rank's samples.

    They are computed in the dtype of the network.
    """
    dtype = network.parameters.dtype
    outputs = np.empty((len(part.x), network.architecture.sizes[-1]), dtype)
    codes = targets.decided(outputs[:0].T)
    codes = np.empty((len(part.x), *codes.shape[1:]), codes.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for shard in part.shards():
            for a in range(shard.start, shard.stop, CHUNK):
                b = min(a + CHUNK, shard.stop)
                x = part.x[a:b].T.astype(dtype, copy=False)
                (z,) = network.forward(network.bind([x]))
                codes[a:b] = targets.decided(z)
                network.activate(z)
                outputs[a:b] = z.T
    return outputs, codes
