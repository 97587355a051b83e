"""Reads rows of an Arrow table as numbers: dates become their parts, each text the number that stands for it.

Times of the day and durations become microseconds, so that their unit makes no difference.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.data.columns import Column, number_of
from nnmpi.data.npy import first_line
from nnmpi.data.sources.arrow_table import Table, decoded, from_numpy, in_float64, taken, texts_of, to_numpy
from nnmpi.errors import InputError

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # units of times of the day and durations
MOST_CATEGORIES = 100_000  # different texts in a table; many more than are useful as features


class Reader:
    """Reads rows of a table as numbers.

    Attributes
    ----------
    texts : dict
        The texts read so far, by the number that stands for each.
    """

    def __init__(self, table: Table, columns: tuple[Column, ...]) -> None:
        self._table, self._columns = table, columns
        self._names = list(dict.fromkeys(column.name for column in columns))
        self._positions = {name: position for position, name in enumerate(self._names)}
        self.texts: dict[float, str] = {}
        self._numbers: dict[str, float] = {}

    def read(self, indices: Indices, out: Array) -> None:
        """Write the rows `indices` to `out`, shape (n, columns)."""
        if not len(indices):
            return
        order = np.argsort(indices, kind="stable")
        ascending = indices[order]
        done = 0
        for first, batch in self._table.batches(self._names, int(ascending[0]), int(ascending[-1]) + 1):
            stop = int(np.searchsorted(ascending, first + len(batch)))
            if stop > done:
                rows = ascending[done:stop] - first
                consecutive = rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all()
                if consecutive:
                    columns = batch.slice(rows[0], len(rows)).columns
                else:
                    columns = [taken(values, from_numpy(rows)) for values in batch.columns]
                for i, values in enumerate(self._numbers_of(columns)):
                    out[order[done:stop], i] = values
                done = stop
        if done < len(indices):
            raise InputError(f"--data {self._table.name}: has changed: it has fewer rows than before")

    def blocks(self, first: int, stop: int) -> Iterator[tuple[int, Array]]:
        """Yield all rows from `first` to `stop`, both bounds of pieces, in blocks with the number of the first row."""
        for start, batch in self._table.batches(self._names, first, stop):
            yield start, np.column_stack(list(self._numbers_of(batch.columns)))

    def _numbers_of(self, columns: list[pa.Array]) -> Iterator[Array]:
        for column in self._columns:
            try:
                values = self._values(columns[self._positions[column.name]], column)
            except pa.ArrowException as error:
                raise InputError(
                    f"--data {self._table.name}: column {column.name} cannot be read ({first_line(error)})"
                ) from None
            yield values

    def _values(self, values: pa.Array, column: Column) -> Array:
        if column.kind == "text":
            return self._of_texts(values, column)
        values = decoded(values)
        if values.null_count == len(values):  # such a column may have another type, which has no year
            return np.full(len(values), np.nan)
        if column.part:
            values = part_of(values, column.part)
        if pa.types.is_time(values.type) or pa.types.is_duration(values.type):
            values = microseconds_of(values)
        numbers = to_numpy(in_float64(values), np.nan)
        return np.where(np.isnan(numbers), np.nan, numbers)  # all NaNs get the same bits

    def _of_texts(self, values: pa.Array, column: Column) -> Floats:
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        texts = texts_of(values.dictionary, f"--data {self._table.name}: column {column.name}")
        numbers = np.array([self._number(text, column) for text in texts] or [np.nan])
        codes = to_numpy(values.indices.cast(pa.int64()), -1)
        return np.where(codes < 0, np.nan, numbers[codes])

    def _number(self, text: str | None, column: Column) -> float:
        if text is None:
            return np.nan
        if text not in self._numbers:
            number = self._numbers[text] = number_of(text)
            if self.texts.setdefault(number, text) != text:
                raise InputError(
                    f"--data {self._table.name}: rename one of the texts {text!r} and {self.texts[number]!r}: "
                    "they have the same hash"
                )
            if len(self.texts) > MOST_CATEGORIES:
                raise InputError(
                    f"--data {self._table.name}: column {column.name} holds too many different texts, over "
                    f"{MOST_CATEGORIES:,}: leave it out with --drop {column.name}"
                )
        return self._numbers[text]


def microseconds_of(values: pa.Array) -> pa.Array:
    """Return times of the day or durations as float64, exactly alike for all units."""
    whole = values.cast(pa.int32() if pa.types.is_time32(values.type) else pa.int64())
    per_second = PER_SECOND[values.type.unit]
    numbers = pc.multiply(whole.cast(pa.float64(), safe=False), max(1.0, 1e6 / per_second))
    return pc.divide(numbers, max(1.0, per_second / 1e6))


def part_of(values: pa.Array, part: str) -> pa.Array:
    """Return one part of dates or times, such as the year; seconds include their fraction. A date is a midnight."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("ms"))
    if part == "weekday":
        return pc.day_of_week(values)
    if part == "second":
        return pc.add(pc.second(values).cast(pa.float64()), pc.subsecond(values))
    return pc.call_function(part, [values])
