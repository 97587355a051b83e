"""The reduction of a step: from each rank's sums to the sums over all ranks.

Several ways to do it, with one face: the loop fills the `vectors`, `Block` by block, and calls `reduce`; then the sums
over all ranks are in ``vectors[0]``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nnmpi.mpi.world import World

Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Block:
    """Samples that go through the network together: those of one shard, or of all that the rank holds.

    Their sums go to ``vectors[into]``; after that ``vectors[a] += vectors[b]`` for each ``(a, b)`` of ``additions``.
    """

    into: int
    additions: tuple[tuple[int, int], ...] = ()


class Reduction(Protocol):
    """What the loop sees of a reduction; there is a block for each shard held, or, not `by_shard`, one for all.

    `ready`, if it is not None, wants to be told when the gradient of a layer is in the vectors, the last layer first;
    what belongs to no layer must be there before that.
    """

    by_shard: bool
    blocks: list[Block]
    vectors: list[Array]

    @property
    def ready(self) -> Callable[[int], None] | None:
        """To be called with each layer's number, on the way backward."""

    def reduce(self) -> None:
        """Bring the sums over all ranks to ``vectors[0]``; all ranks call it, once in each step."""


class Native:
    """One batch a rank and one stock ``Allreduce``: fast, and its rounding depends on the number of ranks."""

    by_shard = False
    ready = None

    def __init__(self, world: World, length: int, dtype: str) -> None:
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [np.zeros(length, dtype)]
        self._alone = world.size == 1
        self._allreduce = world.here.counted(world.comm.Allreduce, "reduction")
        self._in_place = world.mpi.IN_PLACE
        self._buffer = [self.vectors[0], length, datatype(world, dtype)]

    def reduce(self) -> None:
        """One ``Allreduce`` of the whole vector."""
        if not self._alone:
            self._allreduce(self._in_place, self._buffer)


Node = tuple[int, int]  # the shards [low, high) below a node of the tree


def children(node: Node) -> tuple[Node, Node]:
    """The two nodes below `node`: it is split at the largest power of two below its size."""
    low, high = node
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    return (low, middle), (middle, high)


def subtrees(node: Node, held: range) -> list[Node]:
    """The largest whole subtrees of `node` of which all shards are among `held`, in order."""
    low, high = node
    if held.start <= low and high <= held.stop:
        return [node]
    if high <= held.start or held.stop <= low:
        return []
    left, right = children(node)
    return subtrees(left, held) + subtrees(right, held)


class Deterministic:
    """Each shard's microbatch by itself, and all sums in the order of one fixed binary tree over the shards.

    A sum of floating numbers depends on its order. Here the order is that of a tree over all shards, which is the
    same at every world size. A rank adds up the whole subtrees that it holds. Then the ranks exchange slices: rank
    ``j`` gets the ``j``-th slice of every subtree (``Alltoallv``), adds them up in the order of the tree, its own where
    it lies, and hands its slice of the result to all (``Allgather``). Where each rank holds one subtree (the world size
    is a power of two and divides the shards) this moves the bytes of an ordinary allreduce, ``2 (R-1)/R`` of the vector
    in and out of each rank; elsewhere those of a few subtrees more.
    """

    by_shard = True
    ready = None

    def __init__(self, world: World, shards: int, held: range, length: int, dtype: str) -> None:
        root = (0, shards)
        holdings = [
            subtrees(root, range(shards * r // world.size, shards * (r + 1) // world.size)) for r in range(world.size)
        ]
        mine = holdings[world.rank]
        self._alone = world.size == 1
        self.blocks: list[Block] = []
        for i, node in enumerate(mine):
            self._plan(node, i, len(mine))
        count = 1 + max(max((b.into, *(a for pair in b.additions for a in pair))) for b in self.blocks)
        width = -(-length // world.size)  # of a slice; vectors get a little longer, so that all slices are alike
        whole: list[Array] = [np.zeros(width * world.size, dtype) for _ in range(max(count, len(mine)))]
        self.vectors = [vector[:length] for vector in whole]
        own = slice(width * world.rank, width * (world.rank + 1))
        received = self._exchange(world, holdings, whole, width, dtype)
        self._additions: list[tuple[Array, Array, Array]] = []
        self._combine(root, received | {node: vector[own] for node, vector in zip(mine, whole, strict=False)})
        if self._additions:
            total, more, _ = self._additions[-1]
            self._additions[-1] = total, more, whole[0][own]

    def _plan(self, node: Node, into: int, spare: int, last: tuple[tuple[int, int], ...] = ()) -> None:
        """Append the blocks that sum `node` to ``vectors[into]``, with vectors from `spare` on as scratch."""
        low, high = node
        if high - low == 1:
            self.blocks.append(Block(into, last))
            return
        left, right = children(node)
        self._plan(left, into, spare)
        self._plan(right, spare, spare + 1, ((into, spare), *last))

    def _exchange(
        self, world: World, holdings: list[list[Node]], whole: list[Array], width: int, dtype: str
    ) -> dict[Node, Array]:
        """Prepare the messages: round ``i`` sends the slices of every rank's ``i``-th subtree to the other ranks.

        Returns where the slices of their subtrees will be.
        """
        size, rank = world.size, world.rank
        kind = datatype(world, dtype)
        others = [0 if r == rank else len(nodes) for r, nodes in enumerate(holdings)]
        rows: Array = np.zeros((sum(others), width), dtype)
        first_row = np.cumsum([0, *others]).tolist()
        starts = [width * j for j in range(size)]
        self._rounds: list[tuple[Any, Any]] = []
        for i in range(max(map(len, holdings))):
            sends = [width if j != rank and i < len(holdings[rank]) else 0 for j in range(size)]
            source = whole[min(i, len(whole) - 1)]
            takes = [width if i < n else 0 for n in others]
            places = [width * (row + i) if take else 0 for row, take in zip(first_row, takes, strict=False)]
            self._rounds.append(([source, sends, starts, kind], [rows, takes, places, kind]))
        # not Allgatherv: that of Open MPI, where a rank has just died, may do nothing and report success
        self._result = (world.mpi.IN_PLACE, [whole[0], kind])
        self._alltoallv = world.here.counted(world.comm.Alltoallv, "reduction")
        self._allgather = world.here.counted(world.comm.Allgather, "reduction")
        return {
            node: rows[first_row[r] + i]
            for r, nodes in enumerate(holdings)
            if r != rank
            for i, node in enumerate(nodes)
        }

    def _combine(self, node: Node, sums: dict[Node, Array]) -> Array:
        """List the additions of slices that sum `node`; returns where the sum will be."""
        if node in sums:
            return sums[node]
        left, right = (self._combine(child, sums) for child in children(node))
        self._additions.append((left, right, left))
        return left

    def reduce(self) -> None:
        """Exchange slices of subtrees, add them in the order of the tree, hand round the sums."""
        if self._alone:
            return
        for send, receive in self._rounds:
            self._alltoallv(send, receive)
        for left, right, total in self._additions:
            np.add(left, right, out=total)
        self._allgather(*self._result)


def datatype(world: World, dtype: str) -> Any:
    """The MPI datatype of a NumPy floating type."""
    return world.mpi.FLOAT if np.dtype(dtype) == np.float32 else world.mpi.DOUBLE
