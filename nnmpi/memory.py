"""Memory that can be given back, and whether there is enough."""

import contextlib
import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.errors import InputError

LARGE = 1 << 20  # bytes from which on large pages pay


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
