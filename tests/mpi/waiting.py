"""Ranks wait for each other in a barrier of their own: ``waiting.py [foreign]``; ``foreign``: on another processor.

Rank 0 prints in JSON for each rank whether the barrier was nnmpi's own, and whether it ever let a rank through before
all had come.
"""

import json
import platform
import sys
import time

from nnmpi.commands.job import run
from nnmpi.mpi.barrier import barrier
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World

STEPS = 60


def work(world: World) -> None:
    if sys.argv[1:]:
        platform.machine = lambda: "aarch64"
    wait = barrier(world)
    memory = share(world, 1, 1, "int64")
    assert memory is not None
    come = memory[:, 0, 0]  # how far each rank has come
    early = False
    for step in range(1, STEPS + 1):
        if step % world.size == world.rank:  # each is late in its turn
            time.sleep(0.002)
        come[world.rank] = step
        wait()
        early = early or bool((come < step).any() or (come > step + 1).any())
    found = [wait.__name__ == "wait", early]
    everywhere = [json.loads(text) for text in world.gather_bytes(json.dumps(found).encode())]
    if world.rank == 0:
        print(json.dumps(everywhere))


sys.exit(run(work))
