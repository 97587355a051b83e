"""Memory for the long vectors."""

import contextlib
import mmap

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

PAGE = 1 << 21  # bytes of a large page on the usual processors
LARGE = 1 << 20  # bytes from which on it is worth one


def zeros(length: int, dtype: npt.DTypeLike) -> Array:
    """`length` zeros; many of them in large pages, where the system has such.

    A matrix product goes through a weight matrix row by row and meets a page of the usual 4 kB every row or two: with
    large pages a step of 784-512-512-10 takes 2 % less.
    """
    size = length * np.dtype(dtype).itemsize
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(length, dtype)
    memory = mmap.mmap(-1, size + PAGE)  # a page begins somewhere in the first PAGE bytes
    with contextlib.suppress(OSError):  # a kernel that was built without
        memory.madvise(mmap.MADV_HUGEPAGE)
    start = -np.frombuffer(memory, np.uint8).ctypes.data % PAGE
    found: Array = np.frombuffer(memory, dtype, length, start)
    return found
