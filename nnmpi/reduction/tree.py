"""The deterministic reduction: the order of all sums is a tree over the shards, whichever ranks hold them.

So the sums have the same bits at every world size.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.shards import held_shards
from nnmpi.mpi.barrier import barrier
from nnmpi.mpi.shared_memory import LINE, copies, share
from nnmpi.mpi.world import World
from nnmpi.reduction.protocol import Block, datatype

Node = tuple[int, int]  # the shards [low, high) below a node of the tree


def children(node: Node) -> tuple[Node, Node]:
    """Return the two nodes below `node`, which is split at the largest power of two below its size."""
    low, high = node
    middle = low + (1 << (high - low - 1).bit_length() - 1)
    return (low, middle), (middle, high)


def subtrees(node: Node, held: range) -> list[Node]:
    """Return the largest subtrees of `node` whose shards are all in `held`, in order."""
    low, high = node
    if held.start <= low and high <= held.stop:
        return [node]
    if high <= held.start or held.stop <= low:
        return []
    left, right = children(node)
    return subtrees(left, held) + subtrees(right, held)


class Deterministic:
    """One batch per shard; all sums in the order of one fixed binary tree over the shards.

    The rounding of a floating-point sum depends on its order. Here the order is that of a tree over all shards, which
    is the same at every world size. Each rank adds up the whole subtrees that it holds. Then rank ``j`` takes the
    ``j``-th slice of every subtree, adds up these slices in the order of the tree, and hands the result to all ranks.

    If all ranks share memory, no message is sent. Otherwise ``Alltoallv`` sends the slices to the ranks that add them
    up, and ``Allgather`` sends the results back. If each rank holds one subtree (the world size is a power of two and
    divides the number of shards), ``2 (R-1)/R`` of the vector goes into and out of each rank, as in an ordinary
    allreduce. Otherwise a few subtrees more are sent.
    """

    by_shard = True
    ready = None
    name: str
    _collect: Callable[[], object]
    _distribute: Callable[[], object]

    def __init__(self, world: World, shards: int, held: range, length: int, dtype: str) -> None:
        root = (0, shards)
        holdings = [subtrees(root, held_shards(shards, world.size, rank)) for rank in range(world.size)]
        nodes = holdings[world.rank]
        self._alone = world.size == 1
        self.blocks: list[Block] = []
        for i, node in enumerate(nodes):
            self._plan(node, i, len(nodes))
        count = max(len(nodes), 1 + max(max((b.into, *(a for pair in b.additions for a in pair))) for b in self.blocks))
        line = LINE // np.dtype(dtype).itemsize
        width = -(-length // (world.size * line)) * line  # of a slice
        padded_length = width * world.size  # all slices have the same width
        memory = share(world, max(map(len, holdings)), padded_length, dtype)
        shared = [] if memory is None else list(memory[world.rank, : len(nodes), :padded_length])
        padded: list[Array] = [*shared, *(np.zeros(padded_length, dtype) for _ in range(count - len(shared)))]
        self.vectors = [vector[:length] for vector in padded]
        own = slice(width * world.rank, width * (world.rank + 1))
        self.name = f"tree over the shards, {'by messages' if memory is None else 'in shared memory'}"
        if self._alone:
            others: dict[Node, Array] = {}
        elif memory is None:
            others = self._by_messages(world, holdings, padded, width, dtype)
        else:
            others = self._in_memory(world, holdings, memory, own)
        self._additions: list[tuple[Array, Array, Array]] = []
        self._combine(root, others | {node: vector[own] for node, vector in zip(nodes, padded, strict=False)})
        if self._additions:  # the last one makes the sum over all shards
            left, right, _ = self._additions[-1]
            self._additions[-1] = left, right, padded[0][own]

    def _plan(self, node: Node, into: int, spare: int, last: tuple[tuple[int, int], ...] = ()) -> None:
        """Append the blocks that add up `node` in ``vectors[into]``, with the vectors from `spare` on as scratch.

        The additions in `last` follow the last block.
        """
        low, high = node
        if high - low == 1:
            self.blocks.append(Block(into, last))
            return
        left, right = children(node)
        self._plan(left, into, spare)
        self._plan(right, spare, spare + 1, ((into, spare), *last))

    def _in_memory(self, world: World, holdings: list[list[Node]], memory: Array, own: slice) -> dict[Node, Array]:
        """Prepare the exchange through shared memory. Returns this rank's slice of each subtree of the other ranks."""
        rank, wait_for_all = world.rank, barrier(world)
        copies_of_sums = copies(memory[:, 0, own], rank)

        def distribute() -> None:
            for target, sums in copies_of_sums:
                target[:] = sums
            wait_for_all()

        self._collect, self._distribute = world.position.timed(wait_for_all, "reduction"), distribute
        return {
            node: memory[r, i, own] for r, nodes in enumerate(holdings) if r != rank for i, node in enumerate(nodes)
        }

    def _by_messages(
        self, world: World, holdings: list[list[Node]], padded: list[Array], width: int, dtype: str
    ) -> dict[Node, Array]:
        """Prepare the messages: round ``i`` sends the slices of every rank's ``i``-th subtree to the other ranks.

        Returns where this rank's slice of each of their subtrees will be.
        """
        size, rank = world.size, world.rank
        mpi_type = datatype(world, dtype)
        others = [0 if r == rank else len(nodes) for r, nodes in enumerate(holdings)]
        rows: Array = np.zeros((sum(others), width), dtype)
        first_row = np.cumsum([0, *others]).tolist()
        starts = [width * j for j in range(size)]
        rounds: list[tuple[Any, Any]] = []
        for i in range(max(map(len, holdings))):
            sends = [width if j != rank and i < len(holdings[rank]) else 0 for j in range(size)]
            source = padded[min(i, len(padded) - 1)]
            receives = [width if i < n else 0 for n in others]
            offsets = [width * (row + i) if count else 0 for row, count in zip(first_row, receives, strict=False)]
            rounds.append(([source, sends, starts, mpi_type], [rows, receives, offsets, mpi_type]))
        # not Allgatherv: when a rank has just died, Open MPI's may do nothing and report success
        in_place, result = world.mpi.IN_PLACE, [padded[0], mpi_type]
        alltoallv = world.position.counted(world.comm.Alltoallv, "reduction")
        allgather = world.position.counted(world.comm.Allgather, "reduction")

        def collect() -> None:
            for send, receive in rounds:
                alltoallv(send, receive)

        self._collect, self._distribute = collect, lambda: allgather(in_place, result)
        return {
            node: rows[first_row[r] + i]
            for r, nodes in enumerate(holdings)
            if r != rank
            for i, node in enumerate(nodes)
        }

    def _combine(self, node: Node, sums: dict[Node, Array]) -> Array:
        """Append the additions of slices that add up `node`. Returns where the sum will be."""
        if node in sums:
            return sums[node]
        left, right = (self._combine(child, sums) for child in children(node))
        self._additions.append((left, right, left))
        return left

    def reduce(self) -> None:
        """Exchange slices of subtrees, add them up in the order of the tree, and hand the sums to all ranks."""
        if self._alone:
            return
        self._collect()
        for left, right, total in self._additions:
            np.add(left, right, total)
        self._distribute()
