"""Checks of the weights of samples and of classes."""

import numpy as np

from nnmpi.arrays import Array, Floats
from nnmpi.errors import InputError


def checked_weights(name: str, weights: Array, rows: int, key: str) -> Floats:
    """Return the weights of `rows` samples as float64.

    Raises
    ------
    InputError
        If there is not one finite number of at least 0 for each sample, or all are 0.
    """
    where = f"--data {name}: the sample weights {key}"
    if weights.dtype.kind not in "fiub" or weights.size != rows or weights.shape[0] != rows:
        raise InputError(
            f"{where} have shape {weights.shape}, type {weights.dtype}; each of the {rows} rows needs one number"
        )
    numbers = weights.reshape(rows).astype(np.float64)
    bad = np.flatnonzero(~((numbers >= 0) & (numbers < np.inf)))
    if len(bad):
        raise InputError(
            f"{where} hold {numbers[bad[0]]:g} in row {bad[0]} (from 0); allowed are finite numbers from 0"
        )
    check_largest_weight(numbers, where)
    return numbers


def check_largest_weight(weights: Floats, what: str) -> None:
    """Check that sums and products of weights stay in the range of float64. The error begins with `what`.

    Raises
    ------
    InputError
        If they do not, or if all weights are 0.
    """
    largest = weights.max(initial=0.0)
    if largest == 0:
        raise InputError(f"{what} are all 0; at least one must be larger")
    if not 1e-100 <= largest <= 1e100:
        raise InputError(
            f"{what} are at most {largest:g}; the largest must be from 1e-100 to 1e+100: multiply all of them by one "
            "number, which changes no result"
        )
