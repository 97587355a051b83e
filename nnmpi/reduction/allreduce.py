"""The native reduction: as fast as it goes, with a rounding that depends on the number of ranks."""

import numpy as np

from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.buckets import Overlapped, buckets
from nnmpi.reduction.hosts import over_hosts
from nnmpi.reduction.one_host import Slices
from nnmpi.reduction.protocol import Block, Reduction, datatype

SMALL = 1 << 16  # bytes of a vector that a ring is too slow for: it sends 2 (H-1) messages one after the other


def native(
    world: World, layers: list[int], length: int, dtype: str, bucket_mb: float | None, form: str | None = None
) -> Reduction:
    """The native reduction that fits.

    With `bucket_mb`: in buckets of at least so many 10⁶ bytes, if there are at least two of them and no rank can die,
    else, as with 0, in one ``Allreduce``. None: what pays where it was measured (docs/decisions.md). That is shared
    memory, where it can be, and between hosts rings, unless the vector is small. `form` is what numbers travel in
    between hosts, ``fp16`` or ``bf16``.
    """
    size = length * np.dtype(dtype).itemsize
    if bucket_mb is None and world.size > 1:
        memory = share(world, 1, length, dtype)
        if memory is not None:
            return Slices(world, memory, length)
        between = over_hosts(world, length, dtype, form) if form or size > SMALL else None
        if between is not None:
            return between
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
