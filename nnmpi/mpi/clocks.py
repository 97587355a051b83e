"""How far the clocks of the ranks are apart."""

import json
from collections.abc import Callable

import numpy as np

from nnmpi.mpi.host import clock_of
from nnmpi.mpi.world import World

ROUNDS = 20  # the fastest of so many tells best: what is slow is not slow both ways alike


def ahead_of_rank_0(world: World, clock: Callable[[], int]) -> tuple[int, int]:
    """The time on `clock`, in ns, and how far it is ahead of rank 0's; all ranks take part.

    Ranks whose host is rank 0's share its clock. Of each other host one rank is compared with rank 0.
    """
    clocks = [name.decode() for name in world.gather_bytes(clock_of().encode())]
    ahead = compare(world, clock, clocks)
    return clock(), ahead[clocks[world.rank]][0]


def compare(world: World, clock: Callable[[], int], clocks: list[str]) -> dict[str, tuple[int, int]]:
    """How far each of `clocks` is ahead of rank 0's, and how long the fastest round took, in ns; on all ranks.

    `clocks` names that of each rank; the first rank of each exchanges messages with rank 0. Its time is taken for that
    in the middle between question and answer, which is wrong by at most half of the fastest round (Cristian 1989). All
    ranks take part.
    """
    found = {clocks[0]: (0, 0)}
    for name in dict.fromkeys(clocks):
        if name not in found:
            found[name] = world.position.counted(_ask)(world, clock, clocks.index(name))
    text = world.broadcast_bytes(json.dumps(found).encode() if world.rank == 0 else None)
    return {name: (ahead, took) for name, (ahead, took) in json.loads(text).items()}


def _ask(world: World, clock: Callable[[], int], other: int) -> tuple[int, int]:
    """Rank 0 asks `other` for its time; the rest of the ranks do nothing, and only rank 0's result counts."""
    answer, ahead, fastest = np.zeros(1, np.int64), 0, int(np.iinfo(np.int64).max)
    for _ in range(ROUNDS):
        if world.rank == 0:
            asked = clock()
            world.comm.Send(answer, other)
            world.comm.Recv(answer, other)
            took = clock() - asked
            if took < fastest:
                fastest = took
                ahead = int(answer[0]) - (asked + took // 2)
        elif world.rank == other:
            world.comm.Recv(answer, 0)
            answer[0] = clock()
            world.comm.Send(answer, 0)
    return ahead, fastest
