"""A step of a scikit-learn pipeline that turns columns of dates into columns of numbers."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from nnmpi.data.columns import Column
from nnmpi.data.sources import Request
from nnmpi.data.sources.frames import frame_source


class DateColumns(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Replaces dates in a pandas frame by columns of numbers such as ``departure.year`` and ``departure.month``.

    Parameters
    ----------
    dates : dict
        The name of each date column, and the parts to make columns of: names in `nnmpi.data.columns.DATE_PARTS`.
    others : list of str
        The columns that do not change.
    """

    def __init__(self, dates: dict[str, list[str]], others: list[str]) -> None:
        self.dates, self.others = dates, others

    def fit(self, X: Any, y: Any = None) -> "DateColumns":
        """Do nothing: there is nothing to fit."""
        return self

    def transform(self, X: Any) -> Any:
        """Return a frame with the other columns and the columns of numbers, NaN where a date is missing."""
        import pandas

        columns = tuple(Column(name, "number", part) for name, parts in self.dates.items() for part in parts)
        source = frame_source(X, Request("X", targets=False, known=columns))
        numbers = np.empty((source.size, source.features))
        source.read(np.arange(source.size), numbers)
        parts = pandas.DataFrame(numbers, X.index, [column.label for column in columns])
        return pandas.concat([X[self.others], parts], axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True
