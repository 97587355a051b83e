"""Ranks wait for each other in the barrier of `nnmpi.mpi.barrier`: ``wait_in_barrier.py [foreign|die]``.

Rank 0 prints in JSON, for each rank, whether the barrier was nnmpi's own, and whether a rank ever left it before all
had entered. ``foreign``: as on a processor other than x86-64. ``die``: the last rank is killed in the middle of a
barrier, and rank 0 prints how many barriers each survivor passed.
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
    initial_ranks = world.initial_ranks
    try:
        while True:
            wait()
            passed += 1
    except world.mpi.Exception:
        shrink(world, initial_ranks)
    passed_by_ranks = world.gather_rows(np.array([[passed]]))
    if world.rank == 0:
        print(json.dumps(passed_by_ranks.ravel().tolist()))
    world.agree_on_end()


def work(world: World) -> None:
    mode = sys.argv[1] if sys.argv[1:] else ""
    if mode == "foreign":
        platform.machine = lambda: "aarch64"
    wait = barrier(world)
    if mode == "die":
        die(world, wait)
        return
    memory = share(world, 1, 1, "int64")
    assert memory is not None
    entered = memory[:, 0, 0]  # the last barrier that each rank has entered
    early = False
    for step in range(1, STEPS + 1):
        if step % world.size == world.rank:  # the ranks are late in turn
            time.sleep(0.002)
        entered[world.rank] = step
        wait()
        early = early or bool((entered < step).any() or (entered > step + 1).any())
    results = [wait.__name__ == "wait", early]
    results_of_ranks = [json.loads(text) for text in world.gather_bytes(json.dumps(results).encode())]
    if world.rank == 0:
        print(json.dumps(results_of_ranks))


sys.exit(run(work))
