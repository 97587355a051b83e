"""The interface of all reductions: they turn the sums of each rank into the sums over all ranks, once in each step.

The loop fills the `vectors`, `Block` by `Block`, and calls `reduce`. Then ``vectors[0]`` holds the sums over all ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nnmpi.arrays import Array
from nnmpi.mpi.world import World


@dataclass(frozen=True)
class Block:
    """Samples that go through the network together: those of one shard, or of all shards that the rank holds.

    Their sums are written to ``vectors[into]``. Then ``vectors[a] += vectors[b]`` for each ``(a, b)`` in ``additions``.
    """

    into: int
    additions: tuple[tuple[int, int], ...] = ()


class Reduction(Protocol):
    """A way to make the sums over all ranks.

    Attributes
    ----------
    name : str
        A description for users.
    by_shard : bool
        Whether there is a block for each shard that the rank holds; else there is one block for all of them.
    blocks : list of Block
        Which samples form a batch, and where their sums go.
    vectors : list of array
        The step vectors of this rank.
    """

    name: str
    by_shard: bool
    blocks: list[Block]
    vectors: list[Array]

    @property
    def ready(self) -> Callable[[int], None] | None:
        """A function to call during the backward pass, or None.

        The loop calls it with a position when all numbers of the vector from there to its end are complete. Positions
        decrease from call to call to 0. At the first call the numbers behind the layers are already complete.
        """

    def reduce(self) -> None:
        """Make the sums over all ranks in ``vectors[0]``; all ranks call it, once in each step."""


def datatype(world: World, dtype: str) -> Any:
    """Return the MPI datatype of a NumPy floating type."""
    return world.mpi.FLOAT if np.dtype(dtype) == np.float32 else world.mpi.DOUBLE
