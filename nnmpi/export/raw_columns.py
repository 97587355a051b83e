"""Raw columns of a table, as a user has them, from the numbers that a source reads."""

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array
from nnmpi.data.table import Encoding


def raw_columns(encoding: Encoding, rows: Array, texts: dict[float, str]) -> dict[str, Array]:
    """Return the columns by name: numbers in float64, texts or None, dates in ``datetime64[us]``.

    Parameters
    ----------
    rows : array, shape (n, columns)
        As a source reads them: see `nnmpi.data.table`.
    texts : dict
        The text for each number that stands for a text.
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
    return columns | {name: _dates(date_parts) for name, date_parts in parts.items()}


def _dates(parts: dict[str, Array]) -> Array:
    missing = np.isnan(parts["year"])

    def integers(part: str, factor: float = 1) -> npt.NDArray[np.int64]:
        values = parts.get(part, np.zeros(len(missing)))
        return np.rint(np.where(missing, 0, values) * factor).astype(np.int64)

    months = (integers("year") - 1970) * 12 + integers("month") - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (integers("day") - 1)
    seconds = integers("hour") * 3600 + integers("minute") * 60
    moments = days.astype("datetime64[us]") + (seconds * 1_000_000 + integers("second", 1e6))
    return np.where(missing, np.datetime64("NaT"), moments)
