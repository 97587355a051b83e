"""Memory that all ranks of a host see: they add up their vectors where they lie, and nothing is sent.

An ``Allreduce`` between ranks of one host copies every vector into the library's own shared memory and out again. Here
the vectors are in shared memory from the start. After a barrier each rank adds up its *slice* of all of them and writes
the sums to all; after another barrier every rank has all sums in its own vector, as after an ``Allreduce``. What a rank
wrote before a barrier the others see after it: the barrier's own messages go through the same memory, behind it.
"""

import contextlib
import mmap
import os

import numpy as np

from nnmpi.memory import LINE
from nnmpi.mpi.reduce import Array, Block
from nnmpi.mpi.world import World

PIECE = 1 << 16  # numbers that are added up and written to all before the next ones: they stay in the cache meanwhile


def share(world: World, vectors: int, length: int, dtype: str) -> Array | None:
    """Zeros of shape (world size, vectors, at least `length`) that all ranks see, or None on all of them.

    They are on one machine, and its system lets them: Linux, where they may open each other's files in ``/proc``. The
    memory has no name in any file system, so nothing is left behind, however the ranks end. All ranks take part.
    """
    if world.size == 1 or not world.members.on_one_machine():
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


def slice_of(rank: int, size: int, length: int, itemsize: int) -> slice:
    """The part of vectors of `length` numbers that `rank` of `size` adds up.

    It begins with a line of the cache, so that no two ranks write to the same.
    """
    line = LINE // itemsize
    width = -(-length // (size * line)) * line
    return slice(min(rank * width, length), min((rank + 1) * width, length))


class Shared:
    """One batch a rank; each rank adds up a slice of the vectors of all."""

    name = "shared memory"
    by_shard = False
    ready = None

    def __init__(self, world: World, memory: Array, length: int) -> None:
        rank, rows = world.rank, memory[:, 0, :length]
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [rows[rank]]
        self._all_vectors_are_there = world.here.counted(world.comm.Barrier, "reduction")
        self._all_sums_are_there = world.here.counted(world.comm.Barrier, None)
        mine = slice_of(rank, world.size, length, rows.itemsize)
        parts = [rows[:, a : min(a + PIECE, mine.stop)] for a in range(mine.start, mine.stop, PIECE)]
        # own numbers; those of each other rank; where the sums go
        self._pieces = [
            (part[rank], [*part[:rank], *part[rank + 1 :]], [p for p in (part[:rank], part[rank + 1 :]) if len(p)])
            for part in parts
        ]

    def reduce(self) -> None:
        """Add up this rank's slice, and write the sums to all vectors, between two barriers."""
        self._all_vectors_are_there()
        for own, others, everywhere in self._pieces:
            for other in others:
                np.add(own, other, own)
            for rows in everywhere:
                rows[...] = own
        self._all_sums_are_there()
