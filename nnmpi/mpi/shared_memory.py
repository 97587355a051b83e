"""Memory that the ranks of one host share.

One rank creates a file that exists in memory only, and the others open it through ``/proc``. The file has no name in
any file system, so nothing is left behind, however the ranks end.
"""

import contextlib
import mmap
import os

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array
from nnmpi.mpi.world import World

Flags = npt.NDArray[np.int64]

LINE = 64  # bytes of a cache line


def share(world: World, vectors: int, length: int, dtype: str, ranks: list[int] | None = None) -> Array | None:
    """Return zeros of shape (number of `ranks`, vectors, at least `length`) that `ranks` share, or None on all ranks.

    All ranks of `world` take part, each with the `ranks` of its own machine. By default `ranks` are all ranks, if there
    are several and all are on one machine. The result is None unless every machine allows its ranks to share memory:
    that needs Linux, and the right to open each other's files in ``/proc``.
    """
    if ranks is None:
        ranks = list(range(world.size))
        if world.size == 1 or len(world.addresses.ranks_of_machines()) > 1:
            return None
    numbers = LINE // np.dtype(dtype).itemsize
    shape = (len(ranks), vectors, -(-length // numbers) * numbers)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    creates = world.rank == ranks[0]
    file, location = _create(size) if creates else (-1, b"")
    location = world.gather_bytes(location)[ranks[0]]
    if location and not creates:
        file = _open(location)
    memory = None
    if file >= 0:
        with contextlib.suppress(OSError, ValueError):
            memory = mmap.mmap(file, size)
    missing = world.sum_exactly(memory is None)  # after this collective all ranks have opened the file
    if file >= 0:
        os.close(file)
    if memory is None or missing:
        return None
    array: Array = np.frombuffer(memory, dtype).reshape(shape)
    array[ranks.index(world.rank)] = 0  # each rank clears its own row: with NUMA, a page is near its first writer
    return array


def share_flags(world: World, numbers: int, ranks: list[int] | None = None) -> Flags | None:
    """Return shared int64 zeros of shape (number of `ranks`, at least `numbers`), one row per rank; see `share`."""
    memory = share(world, 1, numbers, "int64", ranks)
    return None if memory is None else memory[:, 0].view(np.int64)


def copies(rows: Array, rank: int) -> list[tuple[memoryview, memoryview]]:
    """Return pairs that copy row `rank` to each other row: for each (target, source), ``target[:] = source``.

    The rows must be contiguous. For few numbers this takes a quarter of the time of NumPy's assignment.
    """
    own = rows[rank].data.cast("B")
    return [(row.data.cast("B"), own) for i, row in enumerate(rows) if i != rank]


def _create(size: int) -> tuple[int, bytes]:
    """Create a file of `size` bytes in memory; return it and its location for other ranks. If that fails, return -1."""
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


def _open(location: bytes) -> int:
    """Open the file that another rank created; return -1 if that fails or another file is there."""
    path, _, identity = location.decode().partition(" ")
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
