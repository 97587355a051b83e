"""How long the reduction of a step takes, with the ranks and the network that there are."""

import time
from statistics import median
from typing import Any

from nnmpi.mpi.world import World
from nnmpi.reduction.allreduce import native
from nnmpi.reduction.protocol import Reduction

SIZES = (8, 64_000, 4_000_000)  # bytes of float32
SECONDS = 0.1  # to measure one size, if that is enough for three rounds
MOST = 200  # rounds
LONGEST = 1.0  # seconds that one round may be expected to take


def reduction_times(world: World) -> dict[str, Any]:
    """The name of the reduction, and for each size its bytes and seconds; all ranks take part.

    Of each rank the median counts, and of these the largest. A size that would take too long is left out.
    """
    if world.size == 1:
        return {"name": "none (one rank)", "times": []}
    name, times, expected = "", [], 0.0
    for size in SIZES:
        if expected > LONGEST:
            break
        numbers = size // 4
        halves = [numbers // 2, numbers - numbers // 2]  # layers, as a reduction in buckets needs some
        reduction = native(world, halves, numbers, "float32", None)
        _round(reduction)  # connections are made, and memory is touched, for the first time
        once = world.largest(_round(reduction)) / 1e9
        rounds = min(MOST, max(3, int(SECONDS / max(once, 1e-6))))
        seconds = world.largest(int(median(_round(reduction) for _ in range(rounds)))) / 1e9
        times.append({"bytes": size, "seconds": seconds, "rounds": rounds})
        name, expected = reduction.name, seconds * 62.5
    return {"name": name, "times": times}


def _round(reduction: Reduction) -> int:
    """Nanoseconds of one reduction."""
    began = time.perf_counter_ns()
    if reduction.ready:
        for start in (reduction.vectors[0].size // 2, 0):
            reduction.ready(start)
    reduction.reduce()
    return time.perf_counter_ns() - began
