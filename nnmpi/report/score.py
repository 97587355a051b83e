"""A score of a model, as the report shows it."""

from dataclasses import dataclass

from nnmpi.report.predictions import Predictions
from nnmpi.training.scoring import titles_of


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


def scores_of(
    predictions: Predictions, intervals: dict[str, tuple[float, float]], baselines: dict[str, float]
) -> list[Score]:
    """Return the scores that are defined, in the order of the page."""
    table = predictions.table
    names = titles_of(table) | {"loss": "loss"}
    defined = {name: label for name, label in names.items() if table.get(name) is not None}
    return [Score(label, table[name], intervals.get(name), baselines.get(name)) for name, label in defined.items()]
