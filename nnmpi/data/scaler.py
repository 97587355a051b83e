"""Standardization with statistics taken over all ranks."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnmpi.mpi.world import World

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Scaler:
    """``(x - mean) / scale``, feature by feature, in float64; the features' or the numeric targets' own."""

    mean: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    def transform(self, x: Array) -> None:
        """Standardize `x`, shape (n, features), in place."""
        np.subtract(x, self.mean, out=x, casting="same_kind")
        np.divide(x, self.scale, out=x, casting="same_kind")


def fit_scaler(x: Array, sizes: list[int], world: World) -> Scaler:
    """Mean and population standard deviation over all ranks, equal to the last bit on any number of them.

    What scikit-learn's ``StandardScaler`` computes from the whole of the data: a feature without spread gets the
    scale 1. Each shard's sums are formed by the rank that holds it and added up in the order of the shards.

    Parameters
    ----------
    x : array, shape (n, features)
        The samples of this rank's shards, one shard after the other.
    sizes : list of int
        How many samples each of its shards has.
    """
    pieces = np.split(x, np.cumsum(sizes)[:-1])
    features = x.shape[1]

    def over_shards(sums: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        return np.add.reduce(world.gather_rows(np.array(sums).reshape(-1, features)), axis=0)

    count = float(world.sum_exactly(len(x)))
    mean = over_shards([_sum(piece, None) for piece in pieces]) / count
    variance = over_shards([_sum(piece, mean) for piece in pieces]) / count
    scale = np.sqrt(variance)
    rounding = count * np.finfo(np.float64).eps  # as in scikit-learn, rounding alone does not count as spread
    scale[variance <= rounding * variance + (rounding * mean) ** 2] = 1.0
    return Scaler(mean, scale)


def _sum(x: Array, mean: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """``Σ x`` or ``Σ (x - mean)²`` over the rows, in float64, in pieces so that no copy of `x` is made."""
    total = np.zeros(x.shape[1])
    for start in range(0, len(x), 1024):
        piece = x[start : start + 1024].astype(np.float64)
        if mean is not None:
            piece -= mean
            np.square(piece, out=piece)
        total += piece.sum(axis=0)
    return total
