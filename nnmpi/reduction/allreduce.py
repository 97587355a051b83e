"""The native reduction: the choice of the fastest way for a run, and the simplest way, one ``Allreduce``.

The rounding of the sums depends on the number of ranks; `tree` has the reduction whose rounding does not.
"""

import numpy as np

from nnmpi.arrays import Array
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.reduction.buckets import Overlapped, buckets
from nnmpi.reduction.hosts import over_hosts
from nnmpi.reduction.one_host import Slices
from nnmpi.reduction.protocol import Block, Reduction, datatype

SMALL = 1 << 16  # bytes: up to this length a ring is too slow, as it sends 2 (H-1) messages one after the other


def native(
    world: World, layers: list[int], length: int, dtype: str, bucket_mb: float | None, wire_format: str | None = None
) -> Reduction:
    """Return the native reduction for vectors of `length` numbers; all ranks make it together.

    Parameters
    ----------
    world
        The ranks.
    layers
        The number of parameters of each layer.
    length
        The length of the step vector.
    dtype
        ``float32`` or ``float64``.
    bucket_mb
        None takes what measurements found to be fastest (docs/decisions.md): shared memory on one host, rings between
        hosts, and one ``Allreduce`` if the vector is small or neither is possible. A number asks for buckets of at
        least that many 10⁶ bytes. There is one ``Allreduce`` instead if the number is 0, if there are fewer than two
        buckets, or if the world recovers from dead ranks.
    wire_format
        The format of numbers between hosts, ``fp16`` or ``bf16``; None sends them as they are.
    """
    size = length * np.dtype(dtype).itemsize
    if bucket_mb is None and world.size > 1:
        memory = share(world, 1, length, dtype)
        if memory is not None:
            return Slices(world, memory, length)
        between = over_hosts(world, length, dtype, wire_format) if wire_format or size > SMALL else None
        if between is not None:
            return between
    if bucket_mb and world.size > 1 and not world.recovers:
        parts = buckets(layers, length, int(bucket_mb * 1e6) // np.dtype(dtype).itemsize)
        if len(parts) > 1:
            return Overlapped(world, parts, length, dtype)
    return Native(world, length, dtype)


class Native:
    """One batch per rank, and one ``Allreduce`` of MPI."""

    name = "Allreduce"
    by_shard = False
    ready = None

    def __init__(self, world: World, length: int, dtype: str) -> None:
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [np.zeros(length, dtype)]
        self._alone = world.size == 1
        self._allreduce = world.position.counted(world.comm.Allreduce, "reduction")
        self._in_place = world.mpi.IN_PLACE
        self._buffer = [self.vectors[0], length, datatype(world, dtype)]

    def reduce(self) -> None:
        """Add up the whole vector with one ``Allreduce``."""
        if not self._alone:
            self._allreduce(self._in_place, self._buffer)
