"""Digests of samples: they detect accidental changes, and do not protect against deliberate ones.

`digest` depends only on values, labels and order, not on the stored type, the bytes of the file or the number of ranks.
Each row has a hash that includes its row number, and the hashes are added modulo 2⁶⁴, in any order.
"""

import hashlib
import json
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array

Hashes = npt.NDArray[np.uint64]

AT_ONCE = 1 << 15  # numbers hashed at once; they fit a core's cache
FACTOR = float.fromhex("0x1.00000d5a3c96fp0")  # its last bits are not all zero; see `_linear`


def digest(
    shards: list[tuple[Array, Array, Array]],
    classes: Array | None,
    gather: Callable[[Hashes], Hashes],
) -> str:
    """Return the digest of all samples, in hexadecimal. All ranks take part.

    Parameters
    ----------
    shards : list of (x, y, rows)
        The samples of this rank, by shard: features, shape (n, features); class codes or numbers, shape (n, …); row
        numbers.
    classes : array or None
        The class labels.
    gather : function
        Returns the rows of all ranks.
    """
    hashes = [[sum_of_hashes(x, y.reshape(len(x), -1 if len(x) else 1), rows), len(x)] for x, y, rows in shards]
    sums = gather(np.array(hashes, np.uint64))
    features = shards[0][0].shape[1]
    labels = None if classes is None else classes.tolist()
    total = [int(number) for number in np.add.reduce(sums, axis=0)]
    return hashlib.blake2b(json.dumps([total, features, labels]).encode(), digest_size=16).hexdigest()


def sum_of_hashes(x: Array, y: Array, rows: Array) -> int:
    """Return the sum of the hashes of some rows, modulo 2⁶⁴."""
    hashes = _linear(x, 0)
    hashes += _linear(y, x.shape[1])
    hashes ^= _mixed(rows.astype(np.uint64))
    return int(np.add.reduce(_mixed(hashes), initial=np.uint64(0)))


def digest_of_bits(arrays: Iterable[Array]) -> bytes:
    """Return a digest of all bits of some arrays, in order; it takes little longer than reading them from memory.

    Each word is mixed and multiplied by an odd weight, and the products of a block are added modulo 2⁶⁴. So a change of
    one number always changes the digest.
    """
    weights = _mixed(np.arange(AT_ONCE, dtype=np.uint64)) | np.uint64(1)
    buffer = np.empty(AT_ONCE, np.uint64)
    result = hashlib.blake2b()
    for array in arrays:
        data = array.tobytes()
        words = np.frombuffer(data.ljust(-(-len(data) // 8) * 8, b"\0"), np.uint64)
        for start in range(0, len(words), AT_ONCE):
            block = words[start : start + AT_ONCE]
            mixed = np.right_shift(block, np.uint64(32), out=buffer[: len(block)])
            mixed ^= block
            result.update(int(mixed @ weights[: len(block)]).to_bytes(8, "little"))
        result.update(str(len(data)).encode())
    return result.digest()


def _linear(x: Array, first_column: int) -> Hashes:
    """Return ``Σ bits · weight`` of each row, modulo 2⁶⁴, with the bits of its numbers as float64 and odd weights.

    The bits of a small integer end in zeros, and a product modulo 2⁶⁴ keeps these zeros. So the numbers are multiplied
    by `FACTOR` beforehand. This changes a number by less than one part in a million. Two different numbers become equal
    only if they are neighbours in float64, and only about one in a million of these.
    """
    weights = _mixed(np.arange(first_column, first_column + x.shape[1], dtype=np.uint64)) | np.uint64(1)
    hashes = np.zeros(len(x), np.uint64)
    rows = max(1, AT_ONCE // max(1, x.shape[1]))
    buffer = np.empty((rows, x.shape[1]))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            numbers = buffer[: len(block)]
            np.multiply(block, FACTOR, out=numbers, dtype=np.float64)
            numbers += 0.0  # -0.0 equals 0.0
            np.einsum("ij,j->i", numbers.view(np.uint64), weights, out=hashes[start : start + len(block)])
    return hashes


def _mixed(x: Hashes) -> Hashes:
    """Return the numbers with the bits of each mixed, by the finalizer of SplitMix64 (Steele et al. 2014)."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
