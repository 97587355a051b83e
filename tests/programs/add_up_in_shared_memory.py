"""Ranks add up vectors in shared memory: ``add_up_in_shared_memory.py [refused|renamed]``.

With ``refused``, rank 1 has no permission to open the memory. With ``renamed``, it opens a different file instead. Rank
0 prints in JSON, for each rank and case, whether the sums were right; null if there was no shared memory.
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


def disturb(world: World, fault: str) -> None:
    def disturbed_open(path: Any, *options: Any) -> int:
        if not str(path).startswith("/proc/"):
            return original_open(path, *options)
        if fault == "refused":
            raise PermissionError(13, "Permission denied")
        return original_open(os.devnull, os.O_RDWR)

    if fault and world.rank == 1:
        nnmpi.mpi.shared_memory.os = type("os", (), {**vars(os), "open": staticmethod(disturbed_open)})  # type: ignore[attr-defined]


def sums_are_right(world: World, length: int, dtype: str) -> bool | None:
    memory = share(world, 1, length, dtype)
    if memory is None:
        return None
    reduction = Slices(world, memory, length)
    (vector,) = reduction.vectors
    right = bool((memory[world.rank] == 0).all()) and vector.shape == (length,)
    for step in range(STEPS):  # a rank must not start the next step before the others have read the sums
        vector[:] = np.arange(length) % 1000 + 1000 * world.rank + step
        reduction.reduce()
        ranks = world.size
        expected = ranks * (np.arange(length) % 1000 + step) + 1000 * (ranks * (ranks - 1) // 2)
        right = right and bool((vector == expected).all())
    return right


def work(world: World) -> None:
    disturb(world, sys.argv[1] if len(sys.argv) > 1 else "")
    results = [sums_are_right(world, length, dtype) for length in LENGTHS for dtype in ("float32", "float64")]
    results_of_ranks = [json.loads(text) for text in world.gather_bytes(json.dumps(results).encode())]
    if world.rank == 0:
        print(json.dumps(results_of_ranks))


sys.exit(run(work))
