"""Memory for the values that a layer computes for each sample, allocated once for all batch sizes."""

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array


class Buffer:
    """Arrays of shape ``(units, b)`` for any ``b <= max_batch``, all in the same memory.

    With `ones` an array can also have a row of ones on top. For every ``b`` the ones end at position `max_batch` of the
    memory and the other values begin there. So the ones are written once, and batches of all sizes can follow each
    other.
    """

    def __init__(self, units: int, max_batch: int, dtype: npt.DTypeLike, ones: bool = False) -> None:
        self._memory: Array = np.zeros((units + ones) * max_batch, dtype)
        self._ones = max_batch if ones else 0
        self._memory[: self._ones] = 1
        self._units = units

    def view(self, b: int) -> Array:
        """Return the array for `b` samples: contiguous, shape (units, b)."""
        return self._memory[self._ones : self._ones + self._units * b].reshape(self._units, b)

    def view_with_ones(self, b: int) -> Array:
        """Return the array of `view` with its row of ones on top, shape (1 + units, b)."""
        return self._memory[self._ones - b : self._ones + self._units * b].reshape(1 + self._units, b)
