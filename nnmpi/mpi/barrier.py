"""A barrier in shared memory for the ranks of one host, faster than MPI's.

Each rank writes into flags which barrier it has reached, and reads the flags of others. With this barrier, a step of
64-32-10 on two ranks takes 0.88 times as long as with Open MPI's barrier under ``mpirun --with-ft ulfm``, and 0.97 to
0.98 times as long without ULFM. With MPICH on more ranks than cores it takes 0.6 times as long (docs/decisions.md).
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable

from nnmpi.cgroup import quota
from nnmpi.mpi.cores import cores
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World

PATIENCE = 100  # reads of a flag before a waiting rank yields its core; together they take a few µs
NEVER_SENT = 32767  # a tag that no rank uses
CHECK_EVERY = 0.005  # seconds between two checks of a waiting rank for dead ranks


def can_use_flags() -> bool:
    """Whether the ranks of one host can synchronize through flags in shared memory: only on x86-64.

    On other processors a rank may see the writes of another rank in a different order, and Python has no memory fence
    to prevent that.
    """
    return platform.machine() == "x86_64"


def patience(world: World) -> int:
    """Return how often a waiting rank reads a flag before it yields its core; 0 if there are more ranks than cores.

    All ranks of `world` are on one host, and all take part, because each may be bound to different cores.
    """
    cores_of_all = {core for text in world.gather_bytes(bytes(str(cores()), "ascii")) for core in json.loads(text)}
    limit = quota()
    return PATIENCE if world.size <= min(len(cores_of_all), limit.cpus if limit else math.inf) else 0


def check_alive(world: World) -> None:
    """Raise MPI's error if a rank has died or revoked the communicator, as a collective would; any rank may call it.

    MPI notices a death only inside its calls. A probe for a message from any rank reports it, unless it finds a
    message. So this function probes for a tag that no rank uses.
    """
    if world.recovers:
        world.comm.Iprobe(world.mpi.ANY_SOURCE, NEVER_SENT)


def barrier(world: World) -> Callable[[], object]:
    """Return a function that waits until all ranks of `world` have called it; all ranks make it together.

    A call counts as a collective. After it, a rank sees all that the others wrote to shared memory before their calls.

    This is a dissemination barrier (Hensgen, Finkel & Manber 1988). In round ``k`` a rank sets a flag, which the rank
    ``2**k`` behind it reads, and waits for the flag of the rank ``2**k`` ahead. After the last round every rank has
    heard from all others, directly or through others. A flag holds the number of the barrier, so it is never reset.

    A rank that died, or left for the recovery, sets no flags of later barriers. So no rank passes the next barrier, and
    all ranks that wait there get the error from `check_alive`. Some ranks may pass the barrier in which the rank died;
    they are one barrier ahead of the others.

    The function is MPI's barrier if flags cannot be used, memory cannot be shared or `world` spans several hosts.
    """
    rounds = (world.size - 1).bit_length()
    flags = share(world, rounds, 1, "int64") if can_use_flags() else None
    if flags is None:
        return world.position.counted(world.comm.Barrier, None)
    position, rank, size, clock = world.position, world.rank, world.size, time.monotonic
    # for each round: this rank's flag, and the flag of the rank ahead
    pairs = [(flags[rank, k].data, flags[(rank + 2**k) % size, k].data) for k in range(rounds)]
    max_reads = patience(world)
    number = 0

    def wait() -> None:
        nonlocal number
        position.collectives += 1
        number += 1
        try:
            for own, ahead in pairs:
                own[0] = number
                reads = 0
                while ahead[0] < number:
                    if reads == max_reads:
                        wait_long(ahead)
                        break
                    reads += 1
        finally:
            position.collectives += 1

    def wait_long(ahead: memoryview) -> None:
        check_at = clock() + CHECK_EVERY
        while ahead[0] < number:
            os.sched_yield()
            if clock() >= check_at:
                check_alive(world)
                check_at = clock() + CHECK_EVERY

    return wait
