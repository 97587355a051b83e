"""A score of a model as a page shows it."""

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
    """The scores that are defined, in the order of a page."""
    values = predictions.table
    names = titles_of(values) | {"loss": "loss"}
    defined = {name: label for name, label in names.items() if values.get(name) is not None}
    return [Score(label, values[name], intervals.get(name), to_beat.get(name)) for name, label in defined.items()]
