"""Three ranks whose clocks are made to differ: rank 1 is three seconds ahead, rank 2 has the clock of rank 0."""

import time

from nnmpi.commands.job import run
from nnmpi.mpi.clocks import compare
from nnmpi.mpi.world import World


def work(world: World) -> None:
    found = compare(world, lambda: time.time_ns() + 3_000_000_000 * (world.rank == 1), ["a", "b", "a"])
    if world.rank == 0:
        print(*found["a"], *found["b"], sorted(found))


run(work)
