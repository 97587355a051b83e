"""A step of a scikit-learn pipeline: columns of dates become columns of numbers."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from nnmpi.data.columns import Column
from nnmpi.data.sources import Request
from nnmpi.data.sources.frames import frame_source


class DateColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Columns such as ``departure.year`` and ``departure.month`` of a pandas frame, in place of its dates.

    Parameters
    ----------
    dates : dict
        The names of the columns of dates and the parts that are wanted of each, of
        `nnmpi.data.columns.DATE_PARTS`.
    others : list of str
        The columns that stay as they are.
    """

    def __init__(self, dates: dict[str, list[str]], others: list[str]) -> None:
        self.dates, self.others = dates, others

    def fit(self, X: Any, y: Any = None) -> "DateColumns":
        """There is nothing to learn."""
        return self

    def transform(self, X: Any) -> Any:
        """A frame with columns of numbers, NaN where a date is missing, and the other columns."""
        import pandas

        columns = tuple(Column(name, "number", part) for name, parts in self.dates.items() for part in parts)
        source = frame_source(X, Request("X", targets=False, known=columns))
        numbers = np.empty((source.size, source.features))
        source.read(np.arange(source.size), numbers)
        parts = pandas.DataFrame(numbers, X.index, [column.label for column in columns])
        return pandas.concat([X[self.others], parts], axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True
