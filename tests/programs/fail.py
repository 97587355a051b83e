"""A job whose ranks fail in a given way.

``fail.py one|all|input|shared|defect|leave|abort``
"""

import os
import sys
import time

from nnmpi.commands.job import run
from nnmpi.errors import InputError
from nnmpi.mpi.world import World


def work(world: World) -> None:
    failure = sys.argv[1]
    if failure == "all":
        raise ValueError("all of us fail")
    if failure == "shared":
        with world.together():
            if world.rank == 1:
                raise InputError("rank 1 read something bad")
    if failure == "defect":
        with world.together():
            if world.rank > 0:
                raise KeyError("where no error was expected")
    if failure in ("leave", "abort"):
        world.sum_exactly(1)
        time.sleep(2)  # by then the witness, if there is one, knows all ranks
    if world.rank == 1:
        if failure == "input":
            raise InputError("only one of us noticed")
        if failure == "leave":
            os._exit(3)
        if failure == "abort":
            world.comm.Abort(4)
        raise ValueError("one of us fails")
    while True:
        world.sum_exactly(1)  # waits forever for the failed rank


sys.exit(run(work))
