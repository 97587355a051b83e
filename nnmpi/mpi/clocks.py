"""The differences between the clocks of the ranks' hosts, for the timeline and ``nnmpi info``."""

import json
from collections.abc import Callable

import numpy as np

from nnmpi.mpi.host import clock_of
from nnmpi.mpi.world import World

ROUNDS = 20  # the fastest round counts: a slow one is rarely slow by the same time in both directions


def ahead_of_rank_0(world: World, clock: Callable[[], int]) -> tuple[int, int]:
    """Return the time on `clock`, and how far it is ahead of rank 0's clock, both in ns; all ranks take part.

    Ranks on the host of rank 0 share its clock. One rank of each other host is compared with rank 0.
    """
    clocks = [name.decode() for name in world.gather_bytes(clock_of().encode())]
    ahead = compare(world, clock, clocks)
    return clock(), ahead[clocks[world.rank]][0]


def compare(world: World, clock: Callable[[], int], clocks: list[str]) -> dict[str, tuple[int, int]]:
    """Return how far each of `clocks` is ahead of rank 0's, and how long the fastest round took, both in ns.

    All ranks take part and get the same result. `clocks` holds the name of each rank's clock. The first rank with each
    name exchanges messages with rank 0. The time that it answers is taken as the time halfway between question and
    answer. The error is at most half of the fastest round (Cristian 1989).
    """
    offsets = {clocks[0]: (0, 0)}
    for name in dict.fromkeys(clocks):
        if name not in offsets:
            offsets[name] = world.position.counted(_ask)(world, clock, clocks.index(name))
    text = world.broadcast_bytes(json.dumps(offsets).encode() if world.rank == 0 else None)
    return {name: (ahead, round_trip) for name, (ahead, round_trip) in json.loads(text).items()}


def _ask(world: World, clock: Callable[[], int], other: int) -> tuple[int, int]:
    """Let rank 0 ask rank `other` for its time; the remaining ranks do nothing. Only rank 0 returns a valid result."""
    answer, ahead, fastest = np.zeros(1, np.int64), 0, int(np.iinfo(np.int64).max)
    for _ in range(ROUNDS):
        if world.rank == 0:
            sent = clock()
            world.comm.Send(answer, other)
            world.comm.Recv(answer, other)
            round_trip = clock() - sent
            if round_trip < fastest:
                fastest = round_trip
                ahead = int(answer[0]) - (sent + round_trip // 2)
        elif world.rank == other:
            world.comm.Recv(answer, 0)
            answer[0] = clock()
            world.comm.Send(answer, 0)
    return ahead, fastest
