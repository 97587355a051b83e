"""The check that all ranks hold the same numbers, as they must after every step."""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.errors import RunError
from nnmpi.mpi.world import World


def check_replicas(world: World, parts: dict[str, npt.NDArray[Any]]) -> None:
    """Compare a checksum (CRC-32) of each of `parts`, named arrays, over all ranks; all ranks take part.

    Raises
    ------
    RunError
        On all ranks, naming the ranks that differ from most others, and the parts in which they do.
    """
    sums = np.array([[zlib.crc32(part.data) for part in parts.values()]], np.uint32)
    everywhere = world.gather_rows(sums)
    if (everywhere == everywhere[0]).all():
        return
    strange: dict[int, list[str]] = {}
    for name, column in zip(parts, everywhere.T, strict=True):
        values, counts = np.unique(column, return_counts=True)
        most = values[counts == counts.max()]
        for rank, value in enumerate(column.tolist()):
            if value not in most or len(most) > 1:  # without a majority nobody knows who is right
                strange.setdefault(rank, []).append(name)
    who = "; ".join(f"rank {rank} in {', '.join(names)}" for rank, names in strange.items())
    raise RunError(
        f"the replicas are no longer equal: {who}. Faulty memory or a wrong MPI library can do this; "
        "go on from the last checkpoint with --resume, without that host",
        shared=True,
    )
