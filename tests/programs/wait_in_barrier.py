"""Ranks wait for each other in a barrier of their own: ``wait_in_barrier.py [foreign|die]``.

``foreign``: on another processor.
``die``: the last rank is killed in the middle of a barrier, and rank 0 prints how many barriers each survivor passed.
Else rank 0 prints in JSON for each rank whether the barrier was nnmpi's own, and whether it ever let a rank through
before all had come.
"""

import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from nnmpi.commands.job import run
from nnmpi.faults.recovery import shrink
from nnmpi.mpi.barrier import barrier
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World

STEPS = 60


def die(world: World, wait: Callable[[], object]) -> None:
    passed = 0
    world.addresses.meet()
    if world.rank == world.size - 1:
        while True:
            if passed == STEPS:
                threading.Timer(0.0002, os.kill, (os.getpid(), signal.SIGKILL)).start()
            wait()
            passed += 1
    agreed = world.initial_ranks
    try:
        while True:
            wait()
            passed += 1
    except world.mpi.Exception:
        shrink(world, agreed)
    everywhere = world.gather_rows(np.array([[passed]]))
    if world.rank == 0:
        print(json.dumps(everywhere.ravel().tolist()))
    world.agree_on_end()


def work(world: World) -> None:
    how = sys.argv[1] if sys.argv[1:] else ""
    if how == "foreign":
        platform.machine = lambda: "aarch64"
    wait = barrier(world)
    if how == "die":
        die(world, wait)
        return
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
