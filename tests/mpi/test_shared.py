"""On one host, all ranks add up vectors in shared memory. If one rank cannot open the memory, none uses it."""

import json
from pathlib import Path

import pytest
from jobs import Environment, needed, program_path, run

from nnmpi.reduction.one_host import slice_of

pytestmark = pytest.mark.mpi

SHARING = program_path("add_up_in_shared_memory.py")
CASES = 14


def sharing(mpi: Environment, ranks: int, directory: Path, *fault: str) -> list[list[bool | None]]:
    done = run(mpi.mpiexec(ranks, mpi.program("python"), SHARING, *fault), directory).succeeded()
    return list(json.loads(done.out))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 4))])
@pytest.mark.in_turn
def test_sums_of_all_ranks_reach_all_ranks(mpi: Environment, ranks: int, tmp_path: Path) -> None:
    assert sharing(mpi, ranks, tmp_path) == ranks * [CASES * [True if ranks > 1 else None]]


@pytest.mark.parametrize("fault", ["refused", pytest.param("renamed", marks=pytest.mark.slow)])
def test_memory_that_one_rank_cannot_open_is_used_by_none(fault: str, tmp_path: Path) -> None:
    assert sharing(needed("openmpi"), 3, tmp_path, fault) == 3 * [CASES * [None]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("length", [1, 16, 17, 1000, 16385])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_slices_make_up_the_vector_and_share_no_line(size: int, length: int, itemsize: int) -> None:
    slices = [slice_of(rank, size, length, itemsize) for rank in range(size)]
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(length))
    assert all(s.start * itemsize % 64 == 0 for s in slices if s.start < length)
