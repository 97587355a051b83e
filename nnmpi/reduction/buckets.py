"""The native reduction in buckets: the sums of late layers are made while earlier layers still run backward."""

from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.mpi.world import World
from nnmpi.reduction.protocol import Block, datatype


def buckets(layers: list[int], length: int, min_size: int) -> dict[int, slice]:
    """Return the slice of the vector for each bucket, by the first layer in the bucket.

    `layers` are the sizes of the layers at the beginning of a vector of `length` numbers. They become ready from the
    last to the first, so the numbers behind the layers are in the bucket of the last layer. Each bucket has at least
    `min_size` numbers, except perhaps the one that begins with the first layer.
    """
    slices: dict[int, slice] = {}
    start, end = sum(layers), length
    for i in range(len(layers) - 1, -1, -1):
        start -= layers[i]
        if i == 0 or end - start >= min_size:
            slices[i] = slice(start, end)
            end = start
    return slices


class Overlapped:
    """One ``Iallreduce`` per bucket, started when the gradients of its layers are ready."""

    name = "Iallreduce in buckets"
    by_shard = False

    def __init__(self, world: World, parts: dict[int, slice], length: int, dtype: str) -> None:
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [np.zeros(length, dtype)]
        self._buffers = {part.start: [self.vectors[0][part], datatype(world, dtype)] for part in parts.values()}
        self._in_place = world.mpi.IN_PLACE
        self._iallreduce = world.comm.Iallreduce
        self._test = world.mpi.Request.Testall
        self._wait = world.position.counted(world.mpi.Request.Waitall, "reduction")
        self._requests: list[Any] = []

    def ready(self, start: int) -> None:
        """Start the bucket that begins at `start`, if any. Let MPI move the others on: it does so only inside calls."""
        if self._requests:
            self._test(self._requests)
        if start in self._buffers:
            self._requests.append(self._iallreduce(self._in_place, self._buffers[start]))

    def reduce(self) -> None:
        """Wait for all buckets."""
        self._wait(self._requests)
        self._requests.clear()
