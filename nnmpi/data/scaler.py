"""Standardization with statistics taken over all ranks."""

from collections.abc import Callable, Iterable
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
        with np.errstate(over="ignore"):  # a number far from all others may become infinite, and the loss with it
            np.subtract(x, self.mean, out=x, casting="same_kind")
            np.divide(x, self.scale, out=x, casting="same_kind")


def fit_scaler(shards: Callable[[], Iterable[Array]], world: World) -> Scaler:
    """Mean and population standard deviation over all ranks, equal to the last bit on any number of them.

    What scikit-learn's ``StandardScaler`` computes from the whole of the data: a feature without spread gets the
    scale 1. Each shard's sums are formed by the rank that holds it and added up in the order of the shards. All ranks
    take part.

    Parameters
    ----------
    shards : function
        Gives the samples of each shard that this rank holds, shape (n, features); called twice, for the mean and for
        the deviations from it.
    """

    def over_shards(sums: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        return np.asarray(np.add.reduce(world.gather_rows(np.array(sums)), axis=0))

    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, for the caller to see
        sizes_and_sums = [(len(x), _sum(x, None)) for x in shards()]
        count = world.sum_exactly(sum(size for size, _ in sizes_and_sums))
        mean = over_shards([total for _, total in sizes_and_sums]) / count
        variance = over_shards([_sum(x, mean) for x in shards()]) / count
        scale = np.sqrt(variance)
        rounding = count * np.finfo(np.float64).eps  # as in scikit-learn, rounding alone does not count as spread
        scale[(variance <= rounding * variance + (rounding * mean) ** 2) & np.isfinite(variance)] = 1.0
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
