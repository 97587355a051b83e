"""Memory for what a layer computes for each sample, allocated once for batches of every size."""

from typing import Any

import numpy as np
import numpy.typing as npt


class Buffer:
    """Arrays of shape ``(units, b)`` for any ``b <= max_batch`` over one piece of memory.

    With `ones` the arrays have a row of ones on top. The ones lie before position `max_batch` and the rest behind
    it, whatever ``b`` is, so that they are written once and batches of every size can follow each other.
    """

    def __init__(self, units: int, max_batch: int, dtype: npt.DTypeLike, ones: bool = False) -> None:
        self._memory: npt.NDArray[Any] = np.zeros((units + ones) * max_batch, dtype)
        self._ones = max_batch if ones else 0
        self._memory[: self._ones] = 1
        self._units = units

    def view(self, b: int) -> npt.NDArray[Any]:
        """The array for `b` samples, contiguous, shape (units, b)."""
        return self._memory[self._ones : self._ones + self._units * b].reshape(self._units, b)

    def view_with_ones(self, b: int) -> npt.NDArray[Any]:
        """The same memory under its row of ones, shape (1 + units, b)."""
        return self._memory[self._ones - b : self._ones + self._units * b].reshape(1 + self._units, b)
