"""Rows of a table as its users have them, from the numbers that a source gives."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.table import Encoding

Array = npt.NDArray[Any]


def raw_columns(encoding: Encoding, rows: Array, texts: dict[float, str]) -> dict[str, Array]:
    """The columns by name: numbers in float64, texts or None, dates in ``datetime64[us]``.

    Parameters
    ----------
    rows : array, shape (n, columns)
        As a source reads them: see `nnmpi.data.table`.
    texts : dict
        The texts that were read, by the number that stands for each.
    """
    columns: dict[str, Array] = {}
    parts: dict[str, dict[str, Array]] = {}
    for column, values in zip(encoding.columns, rows.T, strict=True):
        if column.part:
            parts.setdefault(column.name, {})[column.part] = values
        elif column.kind == "text":
            columns[column.name] = np.array([texts.get(value) for value in values.tolist()], object)  # None for NaN
        else:
            columns[column.name] = values
    return columns | {name: _dates(of_date) for name, of_date in parts.items()}


def _dates(parts: dict[str, Array]) -> Array:
    missing = np.isnan(parts["year"])

    def whole(part: str, factor: float = 1) -> npt.NDArray[np.int64]:
        values = parts.get(part, np.zeros(len(missing)))
        return np.rint(np.where(missing, 0, values) * factor).astype(np.int64)

    months = (whole("year") - 1970) * 12 + whole("month") - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (whole("day") - 1)
    seconds = whole("hour") * 3600 + whole("minute") * 60
    moments = days.astype("datetime64[us]") + (seconds * 1_000_000 + whole("second", 1e6))
    return np.where(missing, np.datetime64("NaT"), moments)
