"""A digest of samples that depends on their values, labels and order, and on nothing else.

Not on the type they are stored in, on the file's bytes or on the number of ranks: each row has a hash of its own that
includes its number, and the hashes are added up modulo 2⁶⁴ in any order. It finds changes that happen by accident or
negligence; it is no defence against somebody who wants to hide one.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Hashes = npt.NDArray[np.uint64]

AT_ONCE = 1 << 15  # numbers that are hashed at once; they fit a core's cache
FILL = float.fromhex("0x1.00000d5a3c96fp0")  # whose last bits are no zeros


def digest(
    shards: list[tuple[Array, Array, Array]],
    classes: npt.NDArray[Any] | None,
    gather: Callable[[Hashes], Hashes],
) -> str:
    """The digest of all samples, in hexadecimal. All ranks take part.

    Parameters
    ----------
    shards : list of (x, y, rows)
        What this rank holds: features, shape (n, features), class codes or numbers, shape (n, …), and row numbers.
    classes : array or None
        The class labels.
    gather : function
        Gives the rows of all ranks.
    """
    hashes = [[sum_of_hashes(x, y.reshape(len(x), -1 if len(x) else 1), rows), len(x)] for x, y, rows in shards]
    sums = gather(np.array(hashes, np.uint64))
    features = shards[0][0].shape[1]
    labels = None if classes is None else classes.tolist()
    total = [int(number) for number in np.add.reduce(sums, axis=0)]
    return hashlib.blake2b(json.dumps([total, features, labels]).encode(), digest_size=16).hexdigest()


def sum_of_hashes(x: Array, y: Array, rows: Array) -> int:
    """The sum of the hashes of some rows, modulo 2⁶⁴."""
    hashes = _linear(x, 0)
    hashes += _linear(y, x.shape[1])
    hashes ^= _mixed(rows.astype(np.uint64))
    return int(np.add.reduce(_mixed(hashes), initial=np.uint64(0)))


def _linear(x: Array, first: int) -> Hashes:
    """``Σ bits · weight`` of each row, modulo 2⁶⁴, of the numbers' bits as float64; weights are odd.

    The bits of numbers such as small integers end in zeros, which a product modulo 2⁶⁴ keeps. So the numbers are
    multiplied by `FILL` before: that moves none by more than one part in a million, and no two onto the same but
    neighbours of float64, one in a million of them.
    """
    weights = _mixed(np.arange(first, first + x.shape[1], dtype=np.uint64)) | np.uint64(1)
    hashes = np.zeros(len(x), np.uint64)
    rows = max(1, AT_ONCE // max(1, x.shape[1]))
    room = np.empty((rows, x.shape[1]))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            numbers = room[: len(block)]
            np.multiply(block, FILL, out=numbers, dtype=np.float64)
            numbers += 0.0  # -0.0 equals 0.0
            np.einsum("ij,j->i", numbers.view(np.uint64), weights, out=hashes[start : start + len(block)])
    return hashes


def _mixed(x: Hashes) -> Hashes:
    """Each number's bits spread over all 64 (the finalizer of SplitMix64, Steele et al. 2014)."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
