"""The plan of the deterministic reduction: the sums follow one tree, whichever ranks hold the shards."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.data.shards import held_shards
from nnmpi.mpi.position import Position
from nnmpi.reduction.tree import Deterministic, Node, children, subtrees


def tree(node: Node) -> Any:
    """Return the order of the sums, as nested pairs."""
    low, high = node
    if high - low == 1:
        return low
    left, right = children(node)
    return tree(left), tree(right)


def test_tree_of_eight_shards_is_balanced() -> None:
    assert tree((0, 8)) == (((0, 1), (2, 3)), ((4, 5), (6, 7)))


@pytest.mark.parametrize(
    ("shards", "expected"), [(1, 0), (2, (0, 1)), (3, ((0, 1), 2)), (6, (((0, 1), (2, 3)), (4, 5)))]
)
def test_tree_splits_at_the_largest_power_of_two(shards: int, expected: Any) -> None:
    assert tree((0, shards)) == expected


def local_sums(shards: int, world_size: int, rank: int) -> list[Any]:
    """Return the sums that a rank makes from its own blocks, before any exchange."""
    mpi = SimpleNamespace(FLOAT=None, DOUBLE=None, IN_PLACE=None)
    comm = SimpleNamespace(Alltoallv=None, Allgather=None)
    members = SimpleNamespace(ranks_of_machines=lambda: [[0], [1]])
    world: Any = SimpleNamespace(size=world_size, rank=rank, mpi=mpi, comm=comm, position=Position(), addresses=members)
    held = held_shards(shards, world_size, rank)
    plan = Deterministic(world, shards, held, 100, "float32")
    vectors: list[Any] = [None] * len(plan.vectors)
    for shard, block in zip(held, plan.blocks, strict=True):
        vectors[block.into] = shard
        for a, b in block.additions:
            vectors[a] = (vectors[a], vectors[b])
    return vectors[: len(subtrees((0, shards), held))]


@pytest.mark.slow
@given(st.integers(1, 70), st.data())
def test_each_rank_adds_up_whole_subtrees(shards: int, data: st.DataObject) -> None:
    world_size = data.draw(st.integers(1, shards))
    sums = [s for rank in range(world_size) for s in local_sums(shards, world_size, rank)]
    nodes = [n for r in range(world_size) for n in subtrees((0, shards), held_shards(shards, world_size, r))]
    assert sums == [tree(node) for node in nodes]


@given(st.integers(1, 70), st.data())
def test_subtrees_of_all_ranks_make_up_the_tree(shards: int, data: st.DataObject) -> None:
    world_size = data.draw(st.integers(1, shards))
    nodes = {n for r in range(world_size) for n in subtrees((0, shards), held_shards(shards, world_size, r))}

    def rebuilt(node: Node) -> Any:
        if node in nodes:
            return tree(node)
        left, right = children(node)
        return rebuilt(left), rebuilt(right)

    assert rebuilt((0, shards)) == tree((0, shards))
    assert sorted(s for low, high in nodes for s in range(low, high)) == list(range(shards))


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_powers_of_two_hold_one_subtree_each(world_size: int) -> None:
    assert all(len(subtrees((0, 8), held_shards(8, world_size, r))) == 1 for r in range(world_size))
