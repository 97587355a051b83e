"""A job whose ranks fail as told: ``failing.py one|all|input|shared``. Started by the tests under mpiexec."""

import sys

from nnmpi.errors import InputError
from nnmpi.mpi.job import run
from nnmpi.mpi.world import World


def work(world: World) -> None:
    how = sys.argv[1]
    if how == "all":
        raise ValueError("all of us fail")
    if how == "shared":
        with world.together():
            if world.rank == 1:
                raise InputError("rank 1 read something bad")
    if world.rank == 1:
        if how == "input":
            raise InputError("only one of us noticed")
        raise ValueError("one of us fails")
    while True:
        world.sum_exactly(1)  # without the one that failed this never ends


sys.exit(run(work))
