"""Measure how long the reduction of a step takes with these ranks and this network."""

import time
from statistics import median
from typing import Any

from nnmpi.mpi.world import World
from nnmpi.reduction.allreduce import native
from nnmpi.reduction.protocol import Reduction

SIZES = (8, 64_000, 4_000_000)  # bytes of float32
SECONDS = 0.1  # for the measurement of one size; more if three rounds take longer
MOST = 200  # rounds
LONGEST = 2.0  # seconds; a size of which one round would take longer is left out


def reduction_times(world: World) -> dict[str, Any]:
    """Return the name of the reduction, and for each size its bytes, seconds and rounds; all ranks take part.

    The seconds are the median of the slowest rank. Sizes of which a round would take more than `LONGEST` are left out.
    """
    if world.size == 1:
        return {"name": "none (one rank)", "times": []}
    name, times = "", []
    fastest: list[float] = []  # seconds of the fastest round of each size
    for size in SIZES:
        if len(fastest) == 2 and (fastest[1] - fastest[0]) * SIZES[2] / SIZES[1] > LONGEST:
            break
        numbers = size // 4
        halves = [numbers // 2, numbers - numbers // 2]  # two layers: a reduction in buckets needs layers
        reduction = native(world, halves, numbers, "float32", None)
        _round(reduction)  # the first round also makes connections and touches memory
        one_round = world.largest(_round(reduction)) / 1e9
        rounds = min(MOST, max(3, int(SECONDS / max(one_round, 1e-6))))
        nanoseconds = [_round(reduction) for _ in range(rounds)]
        seconds = world.largest(int(median(nanoseconds))) / 1e9
        times.append({"bytes": size, "seconds": seconds, "rounds": rounds})
        fastest.append(world.largest(min(nanoseconds)) / 1e9)
        name = reduction.name
    return {"name": name, "times": times}


def _round(reduction: Reduction) -> int:
    """Return the nanoseconds of one reduction."""
    began = time.perf_counter_ns()
    if reduction.ready:
        for start in (reduction.vectors[0].size // 2, 0):
            reduction.ready(start)
    reduction.reduce()
    return time.perf_counter_ns() - began
