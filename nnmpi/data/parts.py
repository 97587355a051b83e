"""From a source to what a rank trains on: the split and the samples of its shards."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.shards import shard_rows
from nnmpi.data.sources import Source
from nnmpi.data.targets import Targets
from nnmpi.environment import check_memory
from nnmpi.errors import InputError

Indices = npt.NDArray[np.intp]
Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Parts:
    """The row numbers of the training, validation and test part."""

    training: Indices
    validation: Indices
    test: Indices


def split(source: Source, test_fraction: float, validation_fraction: float, seed: int, stratify: bool) -> Parts:
    """Draw the parts that scikit-learn's ``train_test_split`` draws, the validation part from the training part.

    Raises
    ------
    InputError
        If a part would be empty, or a class too rare to be stratified.
    """
    y = source.y if stratify else None
    rows = np.arange(source.size)
    validation: Indices = rows[:0]
    try:
        training, test = _split_off(rows, test_fraction, seed, y)
        if validation_fraction:
            training, validation = _split_off(training, validation_fraction, seed, None if y is None else y[training])
    except ValueError as error:
        raise InputError(
            f"--data {source.name} cannot be split with --test-fraction {test_fraction}"
            + (f" and --validation-fraction {validation_fraction}" if validation_fraction else "")
            + f": {error}"
        ) from None
    return Parts(training, validation, test)


def _split_off(rows: Indices, fraction: float, seed: int, y: npt.NDArray[Any] | None) -> tuple[Indices, Indices]:
    """The rest of `rows`, and a random `fraction` of them: as ``train_test_split``, with `y` stratified by it.

    The usual case is written out, because importing scikit-learn takes a second and 90 MB on every rank.
    """
    if y is not None:
        from sklearn.model_selection import train_test_split

        rest, part = train_test_split(rows, test_size=fraction, random_state=seed, stratify=y)
        return rest, part
    count = math.ceil(fraction * len(rows))
    if count >= len(rows):
        raise ValueError(f"a part of {count} of {len(rows)} samples leaves none for training")
    drawn = np.random.RandomState(seed).permutation(len(rows))  # what scikit-learn draws from
    return rows[drawn[count:]], rows[drawn[:count]]


@dataclass(frozen=True)
class Part:
    """The samples of one part that this rank holds, one shard after the other.

    Attributes
    ----------
    x : array, shape (n, 1 + features)
        Column 0 is one, see `nnmpi.nn.layers`.
    y : array, shape (n,) or (n, outputs)
        Class codes or numbers.
    sizes : list of int
        How many of the samples belong to each shard held.
    """

    x: Array
    y: npt.NDArray[Any]
    sizes: list[int]

    def shards(self) -> list[slice]:
        """Which samples belong to each shard held."""
        ends = np.cumsum(self.sizes).tolist()
        return [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]


def load_part(
    source: Source, rows: Indices, shards: int, held: range, targets: Targets | None, dtype: npt.DTypeLike
) -> Part:
    """Read the rows of the shards that this rank holds, and no others.

    Raises
    ------
    InputError
        If a feature is NaN or infinite.
    """
    mine = [shard_rows(rows, shards, shard) for shard in held]
    wanted = np.concatenate(mine)
    check_memory(len(wanted) * (1 + source.features) * np.dtype(dtype).itemsize, f"--data {source.name}")
    x = np.ones((len(wanted), 1 + source.features), dtype)
    with np.errstate(over="ignore"):  # a number too large for float32 is found below
        source.read(wanted, x[:, 1:])
    for start in range(0, len(x), 1024):
        bad = np.argwhere(~np.isfinite(x[start : start + 1024]))
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"--data {source.name}: row {wanted[start + row]}, feature {column - 1} (both from 0) is "
                f"{x[start + row, column]} in {x.dtype}; remove such rows or fill them in"
            )
    y = np.zeros(len(wanted), np.intp) if targets is None or source.y is None else targets.codes(source.y[wanted])
    return Part(x, y, [len(rows) for rows in mine])
