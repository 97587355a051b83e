"""A barrier in memory that all ranks of a host see: each says how far it has come, and looks at what others say."""

import os
import platform
from collections.abc import Callable

from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World

PATIENCE = 100  # looks before a rank that waits offers its core to others, a few µs


def flags_will_do(world: World) -> bool:
    """Whether ranks of one host may tell each other by flags in their memory how far they have come.

    On other processors than x86-64 others may see what a rank writes in another order than that in which it was
    written, and Python has no words for what prevents that. Where survivors go on MPI is who tells them of a death.
    """
    return platform.machine() == "x86_64" and not world.recovers


def patience(world: World) -> int:
    """How often a rank that waits looks before it offers its core; on a crowded host somebody needs it at once."""
    return PATIENCE if world.size <= (os.cpu_count() or 1) else 0


def barrier(world: World) -> Callable[[], object]:
    """The function in which each rank waits until all have called it as often; all ranks of one host make it together.

    It counts as a collective. What a rank wrote before it the others see after it. In round ``k`` each rank raises a
    flag for the one ``2**k`` behind it, and waits for that of the one ``2**k`` ahead: after the last round all have
    heard of all (Hensgen, Finkel & Manber 1988). A flag holds the number of the barrier, so that none is ever taken
    down.

    Where flags will not do, or memory cannot be shared, it is MPI's barrier.
    """
    rounds = (world.size - 1).bit_length()
    flags = share(world, rounds, 1, "int64") if flags_will_do(world) else None
    if flags is None:
        return world.here.counted(world.comm.Barrier, None)
    here, rank, size, let_others = world.here, world.rank, world.size, os.sched_yield
    pairs = [(flags[rank, k].data, flags[(rank + 2**k) % size, k].data) for k in range(rounds)]
    looks_at_most = patience(world)
    number = 0

    def wait() -> None:
        nonlocal number
        here.collectives += 1
        number += 1
        for mine, ahead in pairs:
            mine[0] = number
            looks = 0
            while ahead[0] < number:
                if looks == looks_at_most:
                    let_others()
                else:
                    looks += 1
        here.collectives += 1

    return wait
