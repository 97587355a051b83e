"""Memory for what a layer computes for each sample, in one of two orders.

The order decides which factor of a product OpenBLAS takes for its left one. It rearranges the right factor as a whole
and the left one in blocks that fit into the second-level cache: for a large weight matrix the latter is faster.
"""

from typing import Any, NamedTuple

import numpy.typing as npt

from nnmpi.memory import Allocate, aligned

GAP = 16  # numbers before those of a sample, a line of the cache or two


class View(NamedTuple):
    """A buffer's arrays for ``b`` samples."""

    body: npt.NDArray[Any]  # (units, b)
    with_ones: npt.NDArray[Any]  # (1 + units, b), with a row of ones on top
    plain: npt.NDArray[Any]  # the body's memory, for functions of each number: contiguous, perhaps with gaps and ones


class Buffer:
    """Arrays of shape ``(units, b)`` for any ``b <= max_batch`` over one piece of memory.

    With `ones` the arrays have a row of ones on top. The ones lie before position `max_batch` and the rest behind
    it, whatever ``b`` is, so that they are written once and batches of every size can follow each other.
    """

    def __init__(
        self, units: int, max_batch: int, dtype: npt.DTypeLike, ones: bool = False, allocate: Allocate = aligned
    ) -> None:
        self._memory: npt.NDArray[Any] = allocate((units + ones) * max_batch, dtype)
        self._ones = max_batch if ones else 0
        self._memory[: self._ones] = 1
        self._units = units

    def view(self, b: int) -> View:
        """The arrays for `b` samples; without `ones` all are the same."""
        body = self._memory[self._ones : self._ones + self._units * b].reshape(self._units, b)
        if not self._ones:
            return View(body, body, body)
        with_ones = self._memory[self._ones - b : self._ones + self._units * b].reshape(1 + self._units, b)
        return View(body, with_ones, body)


class SampleMajor:
    """The same arrays with the numbers of a sample side by side in memory, as transposes of others.

    Each sample begins with a line of the cache, behind a gap. With `ones` there is a 1 at the gap's end; functions of
    each number that go over the memory change it, and it has to be written again.
    """

    def __init__(
        self, units: int, max_batch: int, dtype: npt.DTypeLike, ones: bool = False, allocate: Allocate = aligned
    ) -> None:
        self._end, self._ones = GAP + units, ones
        step = self._end + -units % GAP
        self._memory: npt.NDArray[Any] = allocate(max_batch * step, dtype).reshape(max_batch, step)

    def view(self, b: int) -> View:
        """The arrays for `b` samples; without `ones` the first two are the same."""
        plain = self._memory[:b]
        body = plain[:, GAP : self._end].T
        if not self._ones:
            return View(body, body, plain)
        with_ones = plain[:, GAP - 1 : self._end].T
        with_ones[0] = 1
        return View(body, with_ones, plain)
