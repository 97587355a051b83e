"""Memory that all ranks of a host see."""

import contextlib
import mmap
import os

import numpy as np
import numpy.typing as npt

from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array

Flags = npt.NDArray[np.int64]

LINE = 64  # bytes of a line of the cache


def share(world: World, vectors: int, length: int, dtype: str, ranks: list[int] | None = None) -> Array | None:
    """Zeros of shape (number of `ranks`, vectors, at least `length`) that `ranks` see, or None on all ranks.

    `ranks` are those of this rank's machine, on every rank those of its own; by default all, if they are on one machine
    and more than one. There is such memory if all machines let their ranks share it: Linux, where they may open each
    other's files in ``/proc``. It has no name in any file system, so nothing is left behind, however the ranks end. All
    ranks of `world` take part.
    """
    if ranks is None:
        ranks = list(range(world.size))
        if world.size == 1 or len(world.addresses.ranks_of_machines()) > 1:
            return None
    numbers = LINE // np.dtype(dtype).itemsize
    shape = (len(ranks), vectors, -(-length // numbers) * numbers)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    first = world.rank == ranks[0]
    file, where = _create(size) if first else (-1, b"")
    where = world.gather_bytes(where)[ranks[0]]
    if where and not first:
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
    array[ranks.index(world.rank)] = 0  # by its owner: where there are several memories a page is near its first writer
    return array


def share_flags(world: World, numbers: int, ranks: list[int] | None = None) -> Flags | None:
    """The same for whole numbers: zeros of shape (number of `ranks`, at least `numbers`), a row of each rank."""
    memory = share(world, 1, numbers, "int64", ranks)
    return None if memory is None else memory[:, 0].view(np.int64)


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
