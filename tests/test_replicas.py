"""The check finds a rank whose parameters differ from those of the others."""

from typing import Any

import numpy as np
import pytest
from ranks import on_ranks

from nnmpi.errors import RunError
from nnmpi.faults.replicas import check_replicas
from nnmpi.mpi.world import World


def check(size: int, damaged: dict[int, str]) -> Any:
    """Flip a bit in one part on each rank in `damaged`, then check."""

    def work(world: World) -> None:
        parts = {"layers.0": np.ones((3, 4)), "layers.1": np.ones(5, np.float32), "state": np.zeros(0)}
        if world.rank in damaged:
            parts[damaged[world.rank]].reshape(-1)[-1:].view(np.uint8)[0] ^= 1
        check_replicas(world, parts)

    return on_ranks(size, work)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_equal_replicas_pass(size: int) -> None:
    check(size, {})


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_rank_and_the_layer_are_named(rank: int) -> None:
    with pytest.raises(RunError, match=rf"equal: rank {rank} in layers\.1\. "):
        check(3, {rank: "layers.1"})


def test_several_ranks_are_named() -> None:
    with pytest.raises(RunError, match=r"rank 1 in layers\.0; rank 3 in layers\.1\. "):
        check(5, {1: "layers.0", 3: "layers.1"})


def test_of_two_both_are_named() -> None:
    with pytest.raises(RunError, match=r"rank 0 in layers\.0; rank 1 in layers\.0\. "):
        check(2, {1: "layers.0"})
