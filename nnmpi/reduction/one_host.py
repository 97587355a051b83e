"""The native reduction on one host: ranks add up their vectors in shared memory, and no message is sent.

An ``Allreduce`` between ranks of one host copies every vector into the MPI library's own shared memory and out again.
Here the vectors are in shared memory from the start. After a barrier each rank adds up its *slice* of all vectors and
writes the sums to all vectors. After another barrier every rank has all sums in its own vector, as after an
``Allreduce``.
"""

import numpy as np

from nnmpi.arrays import Array
from nnmpi.mpi.barrier import barrier
from nnmpi.mpi.shared_memory import LINE, copies
from nnmpi.mpi.world import World
from nnmpi.reduction.protocol import Block

PIECE = 1 << 16  # numbers that are added up and written at a time, so that they stay in the cache


def slice_of(rank: int, size: int, length: int, itemsize: int) -> slice:
    """Return the slice of vectors of `length` numbers that `rank` of `size` adds up.

    It begins at a cache line, so that no two ranks write to the same line.
    """
    line = LINE // itemsize
    width = -(-length // (size * line)) * line
    return slice(min(rank * width, length), min((rank + 1) * width, length))


class Slices:
    """One batch per rank; each rank adds up a slice of the vectors of all ranks."""

    name = "shared memory"
    by_shard = False
    ready = None

    def __init__(self, world: World, memory: Array, length: int) -> None:
        rank = world.rank
        self.rows = rows = memory[:, 0, :length]  # the vectors of all ranks
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [rows[rank]]
        self.wait_for_all = barrier(world)
        self._wait_for_vectors = world.position.timed(self.wait_for_all, "reduction")
        own_slice = slice_of(rank, world.size, length, rows.itemsize)
        starts = range(own_slice.start, own_slice.stop, PIECE)
        parts = [rows[:, start : min(start + PIECE, own_slice.stop)] for start in starts]
        # of each piece: this rank's numbers, those of the other ranks, and how to copy the sums to the other ranks
        self._pieces = [(part[rank], [*part[:rank], *part[rank + 1 :]], copies(part, rank)) for part in parts]

    def reduce(self) -> None:
        """Add up this rank's slice and write the sums to all vectors, between two barriers."""
        self._wait_for_vectors()
        for own, others, copies_of_sums in self._pieces:
            for other in others:
                np.add(own, other, own)
            for target, sums in copies_of_sums:
                target[:] = sums
        self.wait_for_all()
