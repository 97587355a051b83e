"""The native reduction on one host together with the update: each rank does both for a slice of the parameters.

Where each rank updates all of its own replica, gradient, momentum and parameters go through the host's memory once for
each rank, and that is what the update of a large network waits for. Here a rank adds up its slice of all gradients and,
while that is in the cache, updates the same slice in the replicas of all ranks. The numbers are those that all would
have found, each for itself.

No replica is copied from another: all are updated by the same amounts, each from what it was. So a number that is wrong
in one of them, as memory fails, stays wrong in that one, and the check that all replicas are equal finds it. The
momentum alone has no replica: that of a slice is on its rank.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np

from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.reduction.one_host import Slices, slice_of
from nnmpi.reduction.protocol import Array

DIVIDED = ", each rank updates a slice"
# Parameters from which on the vectors do not stay in the caches anyway. With fewer there is little to win, and where
# two cores are not under one cache more to lose: 784-512-512-10 takes 0.96 to 0.99 times as long, or 1.1 times.
LEAST = 1 << 20


class SliceUpdate(Protocol):
    """What is asked of an optimizer."""

    state: Array

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """One update; `gradient` is zeros after it."""


class Divided:
    """`Slices` and an optimizer in one: `reduce` brings the numbers of `tail` only, and `update` does the rest.

    `optimizer` makes one of the parameters of a slice; it gets the same slice of the other replicas, too, and what adds
    up a piece of their gradients.

    Attributes
    ----------
    parameters : array
        The replica of this rank.
    tail : array
        After `reduce` the sums over all ranks of what stands behind the gradients.
    state : array
        Inside of `gathered`, on rank 0, the state of the whole optimizer; else this rank's gradient.
    """

    by_shard = False
    ready = None

    def __init__(self, world: World, slices: Slices, replicas: Array, optimizer: Callable[..., SliceUpdate]) -> None:
        rank, rows, size = world.rank, slices.rows, replicas.shape[1]
        others = [i for i in range(world.size) if i != rank]
        self.name = f"{slices.name}{DIVIDED}"
        self.rows, self.blocks, self.vectors = rows, slices.blocks, slices.vectors
        self.parameters: Array = replicas[rank]
        self.tail: Array = np.empty_like(rows[rank, size:])
        self._add_tails = partial(np.add.reduce, rows[:, size:], 0, None, self.tail)
        self._wait_for_all = world.here.timed(slices.wait_for_all, "reduction")
        self._rank, self._mine = rank, slice_of(rank, world.size, size, rows.itemsize)
        self._gradient, *self._gradients = (rows[i, self._mine] for i in (rank, *others))
        mine, *theirs = (replicas[i, self._mine] for i in (rank, *others))
        self._optimizer = optimizer(mine, replicas=theirs, before=self._sum)
        self._momentum = self._optimizer.state
        self.state: Array = rows[rank, : size if self._momentum.size else 0]
        self._at_rank_0 = rows[0, self._mine][: self._momentum.size]

    def reduce(self) -> None:
        """Add up what stands behind the gradients, when all are there."""
        self._wait_for_all()
        self._add_tails()

    def update(self, gradient: Array, count: float, learning_rate: float, k: int) -> None:
        """Add up the gradients, and update all replicas; `gradient`, which is that of this rank, is zeros after it."""
        self._optimizer.update(self._gradient, count, learning_rate, k)
        self._wait_for_all()

    def _sum(self, piece: slice) -> list[Callable[[], Any]]:
        """The calls that add up a piece of the gradients, and leave zeros in those of other ranks."""
        own = self._gradient[piece]
        pairs = [(partial(np.add, own, g[piece], own), partial(np.ndarray.fill, g[piece], 0)) for g in self._gradients]
        return [call for pair in pairs for call in pair]

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """With the whole state on rank 0, where between two steps the zeros of its gradient are; all take part."""
        self._at_rank_0[:] = self._momentum
        self._wait_for_all()
        yield
        if self._rank == 0:
            self.state.fill(0)

    def scatter(self) -> None:
        """Take over this rank's part of the whole state, which is in `state`."""
        self._momentum[:] = self.state[self._mine][: self._momentum.size]
        self.state.fill(0)


def divided(world: World, slices: Slices, parameters: Array, optimizer: Callable[..., SliceUpdate]) -> Divided | None:
    """`Divided` with replicas of `parameters`, where it can be and pays; all ranks take part.

    Not where survivors go on after a death: they need all of the momentum, and replicas that nobody else writes to.
    """
    if world.recovers or parameters.size < LEAST:
        return None
    memory = share(world, 1, parameters.size, parameters.dtype.name)
    if memory is None:
        return None
    replicas = memory[:, 0, : parameters.size]
    replicas[world.rank] = parameters
    return Divided(world, slices, replicas, optimizer)
