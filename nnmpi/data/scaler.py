"""Standardization in float64, with statistics over the samples of all ranks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array, Booleans, Floats

AT_ONCE = 1 << 15  # numbers converted to float64 at once; they fit a core's cache
LARGEST_EXPONENT = 400  # up to this |exponent| squares, also of small deviations, neither overflow nor underflow


@dataclass(frozen=True)
class Scaler:
    """Standardizes features or numeric targets, each with its own mean and scale: ``(x - mean) / scale``."""

    mean: Floats
    scale: Floats

    def standardize(self, numbers: Floats) -> None:
        """Standardize `numbers`, shape (n, features), in place."""
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(numbers, self.mean, out=numbers)
            np.divide(numbers, self.scale, out=numbers)

    def transform(self, x: Array, out: Array) -> None:
        """Write the standardized `x`, shape (n, features), of any number type, to `out`.

        The computation is in float64 and rounds once, at the end. Numbers that do not fit the type of `out` become
        infinite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            for start, numbers in blocks(x):
                self.standardize(numbers)
                out[start : start + len(numbers)] = numbers


@dataclass(frozen=True)
class Moments:
    """Statistics of each feature over all ranks; ``deviation`` is the population's standard deviation."""

    count: int
    low: Floats
    high: Floats
    mean: Floats
    deviation: Floats
    negligible: Booleans  # whether the deviation may be the rounding of a sum, by scikit-learn's rule

    @property
    def constant(self) -> Booleans:
        """Whether each feature has only one value."""
        return np.asarray(self.low == self.high)


def blocks(x: Array) -> Iterator[tuple[int, Floats]]:
    """Yield `x` as float64 in blocks of rows, each a copy, with the number of its first row."""
    rows = max(1, AT_ONCE // max(1, x.shape[1]))
    for start in range(0, len(x), rows):
        yield start, x[start : start + rows].astype(np.float64)


def moments(shards: Callable[[], Iterable[Array]], gather: Callable[[Floats], Floats]) -> Moments:
    """Return the moments of all samples, equal to the last bit on any number of ranks. All ranks take part.

    The mean is computed from the differences to the smallest value, so that the mean of a constant feature is exactly
    its value. Features with a very large or small exponent are first scaled by a power of two.

    Parameters
    ----------
    shards : function
        Yields the samples of each shard that this rank holds, shape (n, features), finite. It is called three times.
    gather : function
        Takes one row for each shard of this rank, and returns the rows of all ranks in the order of the shards.
    """
    extremes = gather(np.array([_extremes(x) for x in shards()]))
    count = int(extremes[:, 0].sum())
    negative_low, high = np.split(extremes[:, 1:].max(axis=0), 2)
    low = -negative_low
    exponent = np.frexp(np.maximum(np.abs(low), np.abs(high)))[1]
    exponent[np.abs(exponent) <= LARGEST_EXPONENT] = 0

    def mean_over_shards(row_sum: Callable[[Floats], Floats]) -> Floats:
        sums = [np.sum([row_sum(_scaled_down(block, exponent)) for _, block in blocks(x)], axis=0) for x in shards()]
        sums = [total if np.ndim(total) else np.zeros(len(low)) for total in sums]
        return np.asarray(np.add.reduce(gather(np.array(sums)), axis=0) / count)

    origin = _scaled_down(low, exponent)
    mean = origin + mean_over_shards(lambda x: (x - origin).sum(axis=0))
    variance = mean_over_shards(lambda x: np.square(x - mean).sum(axis=0))
    rounding = count * np.finfo(np.float64).eps
    negligible = variance <= rounding * variance + (rounding * mean) ** 2
    return Moments(count, low, high, np.ldexp(mean, exponent), np.ldexp(np.sqrt(variance), exponent), negligible)


def fit_scaler(shards: Callable[[], Iterable[Array]], gather: Callable[[Floats], Floats]) -> Scaler:
    """Fit a scaler as scikit-learn's ``StandardScaler`` does on all the data; see `moments` for the parameters.

    A feature whose deviation is zero, or as small as rounding errors, gets the scale 1. The mean of a constant feature
    is its value, so that it is exactly zero after standardization.
    """
    m = moments(shards, gather)
    smallest = np.nextafter(0.0, 1.0)  # the deviation of denormal numbers may round to zero
    return Scaler(m.mean, np.where(m.constant | m.negligible, 1.0, np.maximum(m.deviation, smallest)))


def _scaled_down(x: Floats, exponent: npt.NDArray[np.intc]) -> Floats:
    return np.ldexp(x, -exponent) if exponent.any() else x


def _extremes(x: Array) -> Floats:
    """Return the number of rows, the negative of each feature's minimum, and each feature's maximum."""
    if not len(x):
        return np.concatenate([[0.0], np.full(2 * x.shape[1], -np.inf)])
    return np.concatenate([[len(x)], -x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)])
