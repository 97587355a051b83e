"""Ranks add up what lies in shared memory: ``add_up_in_shared_memory.py [refused|renamed]``.

``refused``: the system does not let rank 1 open the memory; ``renamed``: it opens another file in its place. Rank 0
prints in JSON whether there was shared memory on each rank, and whether the sums were right.
"""

import json
import os
import sys
from typing import Any

import numpy as np

import nnmpi.mpi.shared_memory
from nnmpi.commands.job import run
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.reduction.one_host import Slices

LENGTHS = (1, 15, 16, 17, 100, 40_000, 300_001)
STEPS = 50
original_open = os.open


def disturb(world: World, how: str) -> None:
    def opened(path: Any, *more: Any) -> int:
        if not str(path).startswith("/proc/"):
            return original_open(path, *more)
        if how == "refused":
            raise PermissionError(13, "Permission denied")
        return original_open(os.devnull, os.O_RDWR)

    if how and world.rank == 1:
        nnmpi.mpi.shared_memory.os = type("os", (), {**vars(os), "open": staticmethod(opened)})  # type: ignore[attr-defined]


def sums_are_right(world: World, length: int, dtype: str) -> bool | None:
    memory = share(world, 1, length, dtype)
    if memory is None:
        return None
    reduction = Slices(world, memory, length)
    (vector,) = reduction.vectors
    right = bool((memory[world.rank] == 0).all()) and vector.shape == (length,)
    for step in range(STEPS):  # one rank's sums must not meet with another's next step
        vector[:] = np.arange(length) % 1000 + 1000 * world.rank + step
        reduction.reduce()
        ranks = world.size
        expected = ranks * (np.arange(length) % 1000 + step) + 1000 * (ranks * (ranks - 1) // 2)
        right = right and bool((vector == expected).all())
    return right


def work(world: World) -> None:
    disturb(world, sys.argv[1] if len(sys.argv) > 1 else "")
    found = [sums_are_right(world, length, dtype) for length in LENGTHS for dtype in ("float32", "float64")]
    everywhere = [json.loads(text) for text in world.gather_bytes(json.dumps(found).encode())]
    if world.rank == 0:
        print(json.dumps(everywhere))


sys.exit(run(work))
