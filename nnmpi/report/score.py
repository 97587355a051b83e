"""A score of a model as a page shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A score on the test part.

    Attributes
    ----------
    interval : (low, high) or None
        The 95 % confidence interval, by ``method``.
    to_beat : float or None
        What the best constant answer gets.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    to_beat: float | None
    method: str
