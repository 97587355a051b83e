"""The native reduction in buckets, each of which is on its way while earlier layers still go backward."""

from typing import Any

import numpy as np

from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.protocol import Block, datatype


def buckets(layers: list[int], length: int, least: int) -> dict[int, slice]:
    """For the first layer of each bucket where in the vector the bucket is; each has at least `least` numbers.

    `layers` are the sizes of the layers at the beginning of a vector of `length` numbers. They become ready from the
    last to the first, so what is behind them travels with the last one.
    """
    found: dict[int, slice] = {}
    start, end = sum(layers), length
    for i in range(len(layers) - 1, -1, -1):
        start -= layers[i]
        if i == 0 or end - start >= least:
            found[i] = slice(start, end)
            end = start
    return found


class Overlapped:
    """One ``Iallreduce`` for each bucket, started when its layers' gradients are there."""

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
        """Start the bucket that this completes, if any, and help the others on, which MPI does inside calls only."""
        if self._requests:
            self._test(self._requests)
        if start in self._buffers:
            self._requests.append(self._iallreduce(self._in_place, self._buffers[start]))

    def reduce(self) -> None:
        """Wait for all buckets."""
        self._wait(self._requests)
        self._requests.clear()
