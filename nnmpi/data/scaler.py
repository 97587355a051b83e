"""Standardization in float64, with statistics taken over all ranks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

AT_ONCE = 1 << 15  # numbers that are converted to float64 at once; what fits a core's cache
ORDINARY = 400  # |exponents| up to which squares, also of small deviations, neither overflow nor underflow


@dataclass(frozen=True)
class Scaler:
    """``(x - mean) / scale``, feature by feature; the features' or the numeric targets' own."""

    mean: Float64
    scale: Float64

    def standardize(self, numbers: Float64) -> None:
        """Standardize `numbers`, shape (n, features), in place."""
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(numbers, self.mean, out=numbers)
            np.divide(numbers, self.scale, out=numbers)

    def transform(self, x: Array, out: Array) -> None:
        """Write the standardized `x`, shape (n, features), of any number type, to `out`.

        All is computed in float64 and rounded once, at the end. Numbers that do not fit the type of `out` become
        infinite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            for start, numbers in blocks(x):
                self.standardize(numbers)
                out[start : start + len(numbers)] = numbers


@dataclass(frozen=True)
class Moments:
    """Statistics of each feature over all ranks; ``deviation`` is that of the population."""

    count: int
    low: Float64
    high: Float64
    mean: Float64
    deviation: Float64
    negligible: npt.NDArray[np.bool_]  # whether the deviation may be the rounding of a sum, by scikit-learn's rule

    @property
    def constant(self) -> npt.NDArray[np.bool_]:
        """Which features have one value only."""
        return np.asarray(self.low == self.high)


def blocks(x: Array) -> Iterator[tuple[int, Float64]]:
    """Copies of some rows of `x` at a time in float64, each with the number of its first row."""
    rows = max(1, AT_ONCE // max(1, x.shape[1]))
    for start in range(0, len(x), rows):
        yield start, x[start : start + rows].astype(np.float64)


def moments(shards: Callable[[], Iterable[Array]], gather: Callable[[Float64], Float64]) -> Moments:
    """The moments of all samples, equal to the last bit on any number of ranks. All ranks take part.

    Deviations are taken from the smallest value first, so that the mean of a constant is that constant, and features
    with an unusual exponent are computed in a unit of their own, a power of two.

    Parameters
    ----------
    shards : function
        Gives the samples of each shard that this rank holds, shape (n, features), finite; called three times.
    gather : function
        Gives the rows that the ranks have, one for each of their shards, in the order of the shards.
    """
    extremes = gather(np.array([_extremes(x) for x in shards()]))
    count = int(extremes[:, 0].sum())
    negative_low, high = np.split(extremes[:, 1:].max(axis=0), 2)
    low = -negative_low
    exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))[1]
    exponent[np.abs(exponent) <= ORDINARY] = 0

    def mean_over_shards(row_sum: Callable[[Float64], Float64]) -> Float64:
        sums = [np.sum([row_sum(_in_unit(block, exponent)) for _, block in blocks(x)], axis=0) for x in shards()]
        sums = [total if np.ndim(total) else np.zeros(len(low)) for total in sums]
        return np.asarray(np.add.reduce(gather(np.array(sums)), axis=0) / count)

    origin = _in_unit(low, exponent)
    mean = origin + mean_over_shards(lambda x: (x - origin).sum(axis=0))
    variance = mean_over_shards(lambda x: np.square(x - mean).sum(axis=0))
    rounding = count * np.finfo(np.float64).eps
    negligible = variance <= rounding * variance + (rounding * mean) ** 2
    return Moments(count, low, high, np.ldexp(mean, exponent), np.ldexp(np.sqrt(variance), exponent), negligible)


def fit_scaler(shards: Callable[[], Iterable[Array]], gather: Callable[[Float64], Float64]) -> Scaler:
    """What scikit-learn's ``StandardScaler`` computes from the whole of the data; see `moments` for the parameters.

    A feature without spread, or with no more than rounding would make, gets the scale 1; the mean of a constant
    feature is its value, so that it is exactly zero when it is standardized.
    """
    found = moments(shards, gather)
    smallest = np.nextafter(0.0, 1.0)  # the deviation of denormal numbers may round to zero
    return Scaler(found.mean, np.where(found.constant | found.negligible, 1.0, np.maximum(found.deviation, smallest)))


def _in_unit(x: Float64, exponent: npt.NDArray[np.intc]) -> Float64:
    return np.ldexp(x, -exponent) if exponent.any() else x


def _extremes(x: Array) -> Float64:
    """The number of rows, then the negative of each feature's minimum, then each feature's maximum."""
    if not len(x):
        return np.concatenate([[0.0], np.full(2 * x.shape[1], -np.inf)])
    return np.concatenate([[len(x)], -x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)])
