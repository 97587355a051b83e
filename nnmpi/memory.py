"""Memory that can be returned to the system, and a check that there is enough memory."""

import contextlib
import mmap
import os

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array
from nnmpi.cgroup import memory_limit
from nnmpi.errors import InputError

LARGE = 1 << 20  # bytes; from this size on huge pages save time


class Room:
    """Anonymous memory of `size` bytes. All but the first part of it can be returned to the system."""

    def __init__(self, size: int) -> None:
        flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        self._memory = mmap.mmap(-1, max(1, size), **flags)
        if size >= LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # the kernel has no huge pages
                self._memory.madvise(mmap.MADV_HUGEPAGE)

    def array(self, shape: tuple[int, ...], dtype: npt.DTypeLike, start: int = 0) -> Array:
        """Return the memory from byte `start` on as an array."""
        return np.ndarray(shape, dtype, self._memory, start)

    def keep(self, size: int) -> None:
        """Return all whole pages after the first `size` bytes to the system. They read as zeros afterwards."""
        start = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if start < len(self._memory) and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, start, len(self._memory) - start)


def host_memory() -> int:
    """Return the bytes of physical memory of this host."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def usable_memory() -> int:
    """Return the bytes of memory that the processes of this job may use together on this host.

    That is all its memory, or the memory limit of the cgroup: of a container, or of a job of Slurm.
    """
    memory = host_memory()
    return min(memory, memory_limit() or memory)


def check_memory(needed: int, subject: str) -> None:
    """Refuse what cannot fit: more than all the memory that this host gives the job, which other ranks use, too.

    Without this check, the system would kill a process of its choice when no memory is left.

    Raises
    ------
    InputError
        If `subject` takes `needed` bytes and there are fewer.
    """
    memory = usable_memory()
    if needed > memory:
        limit = "the memory limit of this job or container is" if memory == memory_limit() else "the host has"
        raise InputError(
            f"{subject} needs at least {min(needed, 10**18) / 1e9:,.1f} GB per rank, {limit} {memory / 1e9:,.1f} GB: "
            "use less data, smaller layers or more hosts"
        )
