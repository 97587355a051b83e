"""The deterministic reduction: sums in the order of one tree over the shards, whoever holds them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nnmpi.mpi.barrier import barrier
from nnmpi.mpi.shared_memory import LINE, copies, share
from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.protocol import Block, datatype

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
    same at every world size. A rank adds up the whole subtrees that it holds. Then rank ``j`` takes the ``j``-th slice
    of every subtree, adds them up in the order of the tree, and hands its slice of the result to all.

    On one host it does so where they lie, in shared memory. Else the slices travel: there by ``Alltoallv``, back by
    ``Allgather``. Where each rank holds one subtree (the world size is a power of two and divides the shards) that
    moves the bytes of an ordinary allreduce, ``2 (R-1)/R`` of the vector in and out of each rank; elsewhere those of a
    few subtrees more.
    """

    by_shard = True
    ready = None
    name: str
    _collect: Callable[[], object]
    _hand_round: Callable[[], object]

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
        count = max(len(mine), 1 + max(max((b.into, *(a for pair in b.additions for a in pair))) for b in self.blocks))
        line = LINE // np.dtype(dtype).itemsize
        width = -(-length // (world.size * line)) * line  # of a slice; vectors get longer, so that all slices are alike
        long = width * world.size
        memory = share(world, max(map(len, holdings)), long, dtype)
        shared = [] if memory is None else list(memory[world.rank, : len(mine), :long])
        whole: list[Array] = [*shared, *(np.zeros(long, dtype) for _ in range(count - len(shared)))]
        self.vectors = [vector[:length] for vector in whole]
        own = slice(width * world.rank, width * (world.rank + 1))
        self.name = f"tree over the shards, {'by messages' if memory is None else 'in shared memory'}"
        if self._alone:
            theirs: dict[Node, Array] = {}
        elif memory is None:
            theirs = self._by_messages(world, holdings, whole, width, dtype)
        else:
            theirs = self._in_memory(world, holdings, memory, own)
        self._additions: list[tuple[Array, Array, Array]] = []
        self._combine(root, theirs | {node: vector[own] for node, vector in zip(mine, whole, strict=False)})
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

    def _in_memory(self, world: World, holdings: list[list[Node]], memory: Array, own: slice) -> dict[Node, Array]:
        """Prepare the barriers of an exchange without messages. Returns where the slices of others' subtrees are."""
        rank, wait_for_all = world.rank, barrier(world)
        everywhere = copies(memory[:, 0, own], rank)

        def hand_round() -> None:
            for to, sums in everywhere:
                to[:] = sums
            wait_for_all()

        self._collect, self._hand_round = world.position.timed(wait_for_all, "reduction"), hand_round
        return {
            node: memory[r, i, own] for r, nodes in enumerate(holdings) if r != rank for i, node in enumerate(nodes)
        }

    def _by_messages(
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
        rounds: list[tuple[Any, Any]] = []
        for i in range(max(map(len, holdings))):
            sends = [width if j != rank and i < len(holdings[rank]) else 0 for j in range(size)]
            source = whole[min(i, len(whole) - 1)]
            takes = [width if i < n else 0 for n in others]
            places = [width * (row + i) if take else 0 for row, take in zip(first_row, takes, strict=False)]
            rounds.append(([source, sends, starts, kind], [rows, takes, places, kind]))
        # not Allgatherv: that of Open MPI, where a rank has just died, may do nothing and report success
        in_place, result = world.mpi.IN_PLACE, [whole[0], kind]
        alltoallv = world.position.counted(world.comm.Alltoallv, "reduction")
        allgather = world.position.counted(world.comm.Allgather, "reduction")

        def collect() -> None:
            for send, receive in rounds:
                alltoallv(send, receive)

        self._collect, self._hand_round = collect, lambda: allgather(in_place, result)
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
        self._collect()
        for left, right, total in self._additions:
            np.add(left, right, total)
        self._hand_round()
