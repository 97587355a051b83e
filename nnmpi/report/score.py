"""A score of a model as a page shows it."""

from dataclasses import dataclass

from nnmpi.report.predictions import Predictions

NAMES = {  # of what `nnmpi.training.scoring` gives, in the order of a page
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
    "loss": "loss",
}


@dataclass(frozen=True)
class Score:
    """A score on the test part.

    Attributes
    ----------
    interval : (low, high) or None
        The 95 % confidence interval.
    to_beat : float or None
        What the best constant answer gets.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    to_beat: float | None


def scores_of(
    predictions: Predictions, intervals: dict[str, tuple[float, float]], to_beat: dict[str, float]
) -> list[Score]:
    """The scores that are defined, in the order of `NAMES`."""
    values = predictions.table
    defined = {name: label for name, label in NAMES.items() if values.get(name) is not None}
    return [Score(label, values[name], intervals.get(name), to_beat.get(name)) for name, label in defined.items()]
