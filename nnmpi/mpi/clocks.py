"""How far the clocks of the ranks are apart."""

import json
from collections.abc import Callable

import numpy as np

from nnmpi.mpi.host import clock_of
from nnmpi.mpi.world import World

ROUNDS = 20  # the fastest of so many tells best: what is slow is not slow both ways alike


def ahead_of_rank_0(world: World, clock: Callable[[], int]) -> tuple[int, int]:
    """The time on `clock`, in ns, and how far it is ahead of rank 0's; all ranks take part.

    Ranks whose host is rank 0's share its clock. Of each other host one rank exchanges empty messages with rank 0: its
    time is taken for that in the middle between the question and the answer, which is wrong by at most half of the
    fastest round.
    """
    clocks = [name.decode() for name in world.gather_bytes(clock_of().encode())]
    ahead = {clocks[0]: 0}
    for name in dict.fromkeys(clocks[1:]):
        if name not in ahead:
            other = clocks.index(name)
            world.position.counted(_ask)(world, clock, other, ahead, name)
    ahead = json.loads(world.broadcast_bytes(json.dumps(ahead).encode() if world.rank == 0 else None))
    return clock(), ahead[clocks[world.rank]]


def _ask(world: World, clock: Callable[[], int], other: int, ahead: dict[str, int], name: str) -> None:
    """Rank 0 asks `other` for its time; the rest of the ranks do nothing."""
    answer, fastest = np.zeros(1, np.int64), np.iinfo(np.int64).max
    for _ in range(ROUNDS):
        if world.rank == 0:
            asked = clock()
            world.comm.Send(answer, other)
            world.comm.Recv(answer, other)
            took = clock() - asked
            if took < fastest:
                fastest = took
                ahead[name] = int(answer[0]) - (asked + took // 2)
        elif world.rank == other:
            world.comm.Recv(answer, 0)
            answer[0] = clock()
            world.comm.Send(answer, 0)
    ahead.setdefault(name, 0)  # rank 0's is what counts
