"""A job whose ranks fail as told, started by the tests under mpiexec.

``fail.py one|all|input|shared|defect|leave|abort``
"""

import os
import sys
import time

from nnmpi.commands.job import run
from nnmpi.errors import InputError
from nnmpi.mpi.world import World


def work(world: World) -> None:
    how = sys.argv[1]
    if how == "all":
        raise ValueError("all of us fail")
    if how == "shared":
        with world.together():
            if world.rank == 1:
                raise InputError("rank 1 read something bad")
    if how == "defect":
        with world.together():
            if world.rank > 0:
                raise KeyError("where no error was expected")
    if how in ("leave", "abort"):
        world.sum_exactly(1)
        time.sleep(2)  # the witness, if there is one, has seen us all
    if world.rank == 1:
        if how == "input":
            raise InputError("only one of us noticed")
        if how == "leave":
            os._exit(3)
        if how == "abort":
            world.comm.Abort(4)
        raise ValueError("one of us fails")
    while True:
        world.sum_exactly(1)  # without the one that failed this never ends


sys.exit(run(work))
