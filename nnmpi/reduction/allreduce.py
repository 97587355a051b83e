"""The native reduction: as fast as it goes, with a rounding that depends on the number of ranks."""

import numpy as np

from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.buckets import Overlapped, buckets
from nnmpi.reduction.one_host import Slices
from nnmpi.reduction.protocol import Block, Reduction, datatype

DEFAULT_MB = 1.0


def native(world: World, layers: list[int], length: int, dtype: str, bucket_mb: float | None) -> Reduction:
    """The native reduction that fits.

    With `bucket_mb`: in buckets of at least so many 10⁶ bytes, if there are at least two of them, else, as with 0, in
    one ``Allreduce``. None: what pays where it was measured (docs/benchmarks.md). That is shared memory, where it can
    be. Else buckets with MPICH, whose ``Iallreduce`` is as fast as its ``Allreduce`` or faster; Open MPI's takes twice
    the time. Where ranks may die nothing must be under way when they do.
    """
    if bucket_mb is None:
        memory = share(world, 1, length, dtype)
        if memory is not None:
            return Slices(world, memory, length)
        bucket_mb = DEFAULT_MB if world.library().startswith("MPICH") else 0.0
    if bucket_mb and world.size > 1 and not world.recovers:
        parts = buckets(layers, length, int(bucket_mb * 1e6) // np.dtype(dtype).itemsize)
        if len(parts) > 1:
            return Overlapped(world, parts, length, dtype)
    return Native(world, length, dtype)


class Native:
    """One batch a rank and one stock ``Allreduce``."""

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
        """One ``Allreduce`` of the whole vector."""
        if not self._alone:
            self._allreduce(self._in_place, self._buffer)
