"""Compares the clocks of three ranks: rank 1 is three seconds ahead, rank 2 has the clock of rank 0."""

import time

from nnmpi.commands.job import run
from nnmpi.mpi.clocks import compare
from nnmpi.mpi.world import World


def work(world: World) -> None:
    offsets = compare(world, lambda: time.time_ns() + 3_000_000_000 * (world.rank == 1), ["a", "b", "a"])
    if world.rank == 0:
        print(*offsets["a"], *offsets["b"], sorted(offsets))


run(work)
