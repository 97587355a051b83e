"""Memory: where it begins makes a difference in a step, and how much there is decides what can be trained."""

import contextlib
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.errors import InputError

Array = npt.NDArray[np.floating]
Allocate = Callable[[int, npt.DTypeLike], npt.NDArray[Any]]  # so many zeros of this type

LINE = 64  # bytes of a line of the cache
PAGE = 1 << 21  # bytes of a large page on the usual processors
LARGE = 1 << 20  # bytes from which on it is worth one


def aligned(length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`length` zeros that begin with a line of the cache.

    NumPy's own begin anywhere, by 16 bytes, and then every second or every vector that a processor loads lies in two
    lines: a step of a small network takes 2 to 3 % longer.
    """
    itemsize = np.dtype(dtype).itemsize
    room = np.zeros(length + LINE // itemsize, dtype)
    start = -room.ctypes.data % LINE // itemsize
    return room[start : start + length]


def zeros(length: int, dtype: npt.DTypeLike) -> Array:
    """`length` zeros, `aligned`; many of them in large pages, where the system has such.

    A matrix product goes through a weight matrix row by row and meets a page of the usual 4 kB every row or two: with
    large pages a step of 784-512-512-10 takes 2 % less.
    """
    size = length * np.dtype(dtype).itemsize
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return aligned(length, dtype)
    memory = mmap.mmap(-1, size + PAGE)  # a page begins somewhere in the first PAGE bytes
    with contextlib.suppress(OSError):  # a kernel that was built without
        memory.madvise(mmap.MADV_HUGEPAGE)
    start = -np.frombuffer(memory, np.uint8).ctypes.data % PAGE
    found: Array = np.frombuffer(memory, dtype, length, start)
    return found


class Room:
    """Anonymous memory of `size` bytes, of which all but a beginning can be given back to the system."""

    def __init__(self, size: int) -> None:
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        self._memory = mmap.mmap(-1, max(1, size), **flags)
        if size >= LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel that was built without
                self._memory.madvise(mmap.MADV_HUGEPAGE)

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike, start: int = 0) -> npt.NDArray[Any]:
        """The memory from the byte `start` on as an array."""
        return np.ndarray(shape, dtype, self._memory, start)

    def keep(self, size: int) -> None:
        """Give back all but the first `size` bytes; what was there is zero afterwards."""
        start = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if start < len(self._memory) and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, start, len(self._memory) - start)


def check_memory(needed: int, what: str) -> None:
    """Refuse what surely does not fit: more than all the memory of this host, of which other ranks need a part, too.

    Without this the system would end a process of its choice when the memory is used up.

    Raises
    ------
    InputError
        If `what` takes `needed` bytes and the host has fewer.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise InputError(
            f"{what} needs at least {min(needed, 10**18) / 1e9:,.1f} GB on a rank, the host has {there / 1e9:,.1f} GB: "
            "use less data, smaller layers or more hosts"
        )
