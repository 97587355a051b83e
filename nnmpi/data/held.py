"""The rows that a rank holds: read once, then standardized in place."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array, Indices
from nnmpi.data.scaler import AT_ONCE
from nnmpi.data.shards import shard_rows, slices_of
from nnmpi.data.sources import Source
from nnmpi.data.table import Encoding, Preparation
from nnmpi.errors import InputError
from nnmpi.memory import Room, check_memory


class HeldRows:
    """The rows that a rank holds of some parts of a source.

    Stored and standardized rows share memory. A standardized row, a one and the features, may be larger or smaller than
    a stored row. So the stored rows are at the end of the memory, and the standardized rows are written from its
    beginning, block by block. They never overwrite a stored row that is still needed. If a table has more features than
    columns, its standardized rows get memory of their own.

    Attributes
    ----------
    indices : array, shape (rows,)
        The row numbers in the source: part after part, and within a part shard after shard.
    sizes : list of list of int
        For each part, the number of rows in each shard held.
    stored : array, shape (rows, features)
        The features as they are stored. `standardize` leaves only the rows after its first `count` intact.

    Raises
    ------
    InputError
        If a feature is infinite, if it is NaN and the source is not a table, or if there is not enough memory.
    """

    def __init__(
        self, source: Source, parts: Sequence[Indices], shards: int, held: range, dtype: npt.DTypeLike
    ) -> None:
        rows = [[shard_rows(part, shards, shard) for shard in held] for part in parts]
        self.sizes = [[len(shard) for shard in part] for part in rows]
        self.indices: Indices = np.concatenate([shard for part in rows for shard in part]).astype(np.intp)
        self.source, self._dtype = source, np.dtype(dtype)
        count, self._width = len(self.indices), 1 + source.features
        stored, standardized = source.features * source.dtype.itemsize, self._width * self._dtype.itemsize
        size = count * max(stored, standardized)
        check_memory(size, f"--data {source.name}")
        self._room = Room(size)
        self.stored: Array = self._room.array((count, source.features), source.dtype, size - count * stored)
        if not source.bounds:
            source.read(self.indices, self.stored)
            self.check_finite()

    def bounds(self) -> list[list[slice]]:
        """Return the slice of rows of each shard held, for each part."""
        slices = iter(slices_of([size for part in self.sizes for size in part]))
        return [[next(slices) for _ in part] for part in self.sizes]

    def standardize(self, scaler: Preparation, count: int) -> Array:
        """Return the first `count` rows, shape (count, 1 + features): a one, see `nnmpi.nn.layers`, and the features.

        Raises
        ------
        InputError
            If a number does not fit the dtype of the training.
        """
        width = 1 + len(scaler.mean)
        room = self._room
        if width > self._width:
            size = count * width * self._dtype.itemsize
            check_memory(size, f"--data {self.source.name}, with {width - 1} features, most of them from categories,")
            room = Room(size)
        out = room.array((count, width), self._dtype)
        step = max(1, AT_ONCE // width)
        for start in range(0, count, step):
            stop = min(start + step, count)
            block = self.stored[start:stop].copy()  # a copy: the column of ones may overwrite its first number
            out[start:stop, 0] = 1
            scaler.transform(block, out[start:stop, 1:])
            if not np.isfinite(out[start:stop]).all():
                row, feature = np.argwhere(~np.isfinite(out[start:stop, 1:]))[0]
                self._refuse(start + row, feature, block[row], scaler)
        if room is not self._room:
            self._room, self.stored = room, self.stored[:0]
        elif count == len(self.indices):  # otherwise the last rows are still needed
            self._room.keep(out.nbytes)
        return out

    def check_finite(self) -> None:
        """Refuse infinite features, and missing ones if the source is not a table.

        Raises
        ------
        InputError
            If there are such features; it names the first one.
        """
        if self.stored.dtype.kind != "f":
            return
        rows = max(1, AT_ONCE // max(1, self.stored.shape[1]))
        for start in range(0, len(self.stored), rows):
            numbers = self.stored[start : start + rows]
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(np.add.reduce(numbers, axis=None)):  # takes half the time of testing each number
                    continue
            bad = ~np.isfinite(numbers) if self.source.columns is None else np.isinf(numbers)
            if bad.any():
                row, feature = np.argwhere(bad)[0]
                raise InputError(
                    f"{self._location(start + row, feature)} is {self.stored[start + row, feature]}; "
                    "remove such rows or fill them in"
                )

    def _refuse(self, row: int, feature: int, values: Array, scaler: Preparation) -> None:
        column = scaler.numbers[feature] if isinstance(scaler, Encoding) else feature
        value = values[column]
        with np.errstate(over="ignore"):
            deviations = (float(value) - scaler.mean[feature]) / scaler.scale[feature]
        raise InputError(
            f"{self._location(row, column)} is {value}, standardized {deviations:.3g}, which does not fit "
            f"{self._dtype}. Is it a fill value? Remove such rows or fill them in"
            + (", or train with --dtype float64" if np.isfinite(deviations) else "")
        )

    def _location(self, row: int, feature: int) -> str:
        name, row = self.source.name, self.indices[row]
        if self.source.columns is not None:
            return f"--data {name}: row {row} (from 0), column {self.source.columns[feature].label},"
        return f"--data {name}: row {row}, feature {feature} (both from 0)"
