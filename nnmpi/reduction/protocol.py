"""The reduction of a step: from each rank's sums to the sums over all ranks.

Several ways to do it, with one face: the loop fills the `vectors`, `Block` by block, and calls `reduce`; then the sums
over all ranks are in ``vectors[0]``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array


@dataclass(frozen=True)
class Block:
    """Samples that go through the network together: those of one shard, or of all that the rank holds.

    Their sums go to ``vectors[into]``; after that ``vectors[a] += vectors[b]`` for each ``(a, b)`` of ``additions``.
    """

    into: int
    additions: tuple[tuple[int, int], ...] = ()


class Reduction(Protocol):
    """What the loop sees of a reduction; there is a block for each shard held, or, not `by_shard`, one for all.

    `name` is for people.

    `ready`, if it is not None, wants to be told from where on all numbers are in the vector, from its end to its
    beginning, the first time with what belongs to no layer.
    """

    name: str
    by_shard: bool
    blocks: list[Block]
    vectors: list[Array]

    @property
    def ready(self) -> Callable[[int], None] | None:
        """To be called on the way backward with the position from which on all is there; the last one is 0."""

    def reduce(self) -> None:
        """Bring the sums over all ranks to ``vectors[0]``; all ranks call it, once in each step."""


def datatype(world: World, dtype: str) -> Any:
    """The MPI datatype of a NumPy floating type."""
    return world.mpi.FLOAT if np.dtype(dtype) == np.float32 else world.mpi.DOUBLE
