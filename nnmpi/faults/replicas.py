"""The check that all replicas are equal, as they must be after every step."""

import zlib

import numpy as np

from nnmpi.arrays import Array
from nnmpi.errors import RunError
from nnmpi.mpi.world import World


def check_replicas(world: World, parts: dict[str, Array]) -> None:
    """Compare a checksum (CRC-32) of each array in `parts` between all ranks; all ranks take part.

    Raises
    ------
    RunError
        On all ranks. The message names the ranks that differ from the majority, and the parts that differ.
    """
    sums = np.array([[zlib.crc32(part.data) for part in parts.values()]], np.uint32)
    everywhere = world.gather_rows(sums)
    if (everywhere == everywhere[0]).all():
        return
    differences: dict[int, list[str]] = {}
    for name, column in zip(parts, everywhere.T, strict=True):
        values, counts = np.unique(column, return_counts=True)
        majority = values[counts == counts.max()]
        for rank, value in enumerate(column.tolist()):
            if value not in majority or len(majority) > 1:  # without a majority, any rank may be the wrong one
                differences.setdefault(rank, []).append(name)
    text = "; ".join(f"rank {rank} in {', '.join(names)}" for rank, names in differences.items())
    raise RunError(
        f"the replicas are no longer equal: {text}. Faulty memory or a faulty MPI library can cause this; "
        "go on from the last checkpoint with --resume, without that host",
        shared=True,
    )
