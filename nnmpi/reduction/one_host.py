"""The native reduction on one host: ranks add up their vectors where they lie, and nothing is sent.

An ``Allreduce`` between ranks of one host copies every vector into the library's own shared memory and out again. Here
the vectors are in shared memory from the start. After a barrier each rank adds up its *slice* of all of them and writes
the sums to all; after another barrier every rank has all sums in its own vector, as after an ``Allreduce``.
"""

import numpy as np

from nnmpi.mpi.barrier import barrier
from nnmpi.mpi.shared_memory import LINE, copies
from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.protocol import Block

PIECE = 1 << 16  # numbers that are added up and written to all before the next ones: they stay in the cache meanwhile


def slice_of(rank: int, size: int, length: int, itemsize: int) -> slice:
    """The part of vectors of `length` numbers that `rank` of `size` adds up.

    It begins with a line of the cache, so that no two ranks write to the same.
    """
    line = LINE // itemsize
    width = -(-length // (size * line)) * line
    return slice(min(rank * width, length), min((rank + 1) * width, length))


class Slices:
    """One batch a rank; each rank adds up a slice of the vectors of all."""

    name = "shared memory"
    by_shard = False
    ready = None

    def __init__(self, world: World, memory: Array, length: int) -> None:
        rank = world.rank
        self.rows = rows = memory[:, 0, :length]  # the vectors of all ranks
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [rows[rank]]
        self.wait_for_all = barrier(world)
        self._all_vectors_are_there = world.position.timed(self.wait_for_all, "reduction")
        mine = slice_of(rank, world.size, length, rows.itemsize)
        parts = [rows[:, a : min(a + PIECE, mine.stop)] for a in range(mine.start, mine.stop, PIECE)]
        # own numbers; those of each other rank; where the sums go
        self._pieces = [(part[rank], [*part[:rank], *part[rank + 1 :]], copies(part, rank)) for part in parts]

    def reduce(self) -> None:
        """Add up this rank's slice, and write the sums to all vectors, between two barriers."""
        self._all_vectors_are_there()
        for own, others, everywhere in self._pieces:
            for other in others:
                np.add(own, other, own)
            for to, sums in everywhere:
                to[:] = sums
        self.wait_for_all()
