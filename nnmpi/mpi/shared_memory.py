"""Memory that all ranks of a host see."""

import contextlib
import mmap
import os

import numpy as np

from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array

LINE = 64  # bytes of a line of the cache


def share(world: World, vectors: int, length: int, dtype: str) -> Array | None:
    """Zeros of shape (world size, vectors, at least `length`) that all ranks see, or None on all of them.

    They are on one machine, and its system lets them: Linux, where they may open each other's files in ``/proc``. The
    memory has no name in any file system, so nothing is left behind, however the ranks end. All ranks take part.
    """
    if world.size == 1 or not world.addresses.on_one_machine():
        return None
    numbers = LINE // np.dtype(dtype).itemsize
    shape = (world.size, vectors, -(-length // numbers) * numbers)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    file, where = _create(size) if world.rank == 0 else (-1, b"")
    where = world.broadcast_bytes(where if world.rank == 0 else None)
    if where and world.rank:
        file = _open(where)
    memory = None
    if file >= 0:
        with contextlib.suppress(OSError, ValueError):
            memory = mmap.mmap(file, size)
    missing = world.sum_exactly(memory is None)  # after it all have opened the file
    if file >= 0:
        os.close(file)
    if memory is None or missing:
        return None
    array: Array = np.frombuffer(memory, dtype).reshape(shape)
    array[world.rank] = 0  # by its owner: on machines with several memories a page is near whom first writes to it
    return array


def copies(rows: Array, rank: int) -> list[tuple[memoryview, memoryview]]:
    """From row `rank`, which is contiguous, to each other row: for (to, what), ``to[:] = what``.

    With few numbers that takes a quarter of the time that NumPy's assignment takes.
    """
    own = rows[rank].data.cast("B")
    return [(row.data.cast("B"), own) for i, row in enumerate(rows) if i != rank]


def _create(size: int) -> tuple[int, bytes]:
    """A file of so many bytes in memory only, and how others find it; -1 and nothing where there is no such thing."""
    try:
        file = os.memfd_create("nnmpi")
    except (AttributeError, OSError):
        return -1, b""
    try:
        os.truncate(file, size)
    except OSError:
        os.close(file)
        return -1, b""
    return file, f"/proc/{os.getpid()}/fd/{file} {_identity(file)}".encode()


def _open(where: bytes) -> int:
    path, _, identity = where.decode().partition(" ")
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return -1
    if _identity(file) != identity:
        os.close(file)
        return -1
    return file


def _identity(file: int) -> str:
    status = os.fstat(file)
    return f"{status.st_dev} {status.st_ino}"
