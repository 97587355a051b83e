"""No rank leaves the barrier in shared memory before all have entered it. Some processors need MPI's barrier."""

import json
import platform
import threading
from pathlib import Path

import pytest
from jobs import Environment, needed, program_path, run
from ranks import on_ranks

from nnmpi.cgroup import Quota
from nnmpi.mpi import barrier
from nnmpi.mpi.world import World

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the barrier is MPI's on other processors"),
]

WAITING = program_path("wait_in_barrier.py")


@pytest.mark.parametrize("ranks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4, 5, 8))])
@pytest.mark.in_turn
def test_nobody_passes_before_all_have_come(mpi: Environment, ranks: int, tmp_path: Path) -> None:
    done = run(mpi.mpiexec(ranks, mpi.program("python"), WAITING), tmp_path).succeeded()
    assert json.loads(done.out) == ranks * [[True, False]]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_same_where_ranks_may_die(ranks: int, tmp_path: Path) -> None:
    mpi = needed("openmpi")
    done = run(mpi.mpiexec(ranks, "--with-ft", "ulfm", mpi.program("python"), WAITING), tmp_path).succeeded()
    assert json.loads(done.out) == ranks * [[True, False]]


@pytest.mark.slow
def test_on_other_processors_it_is_that_of_mpi(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    done = run(mpi.mpiexec(2, mpi.program("python"), WAITING, "foreign"), tmp_path).succeeded()
    assert json.loads(done.out) == 2 * [[False, False]]


@pytest.mark.parametrize(
    ("cores_of_ranks", "quota", "yields"),
    [
        ([[0, 1, 2], [0, 1, 2], [0, 1, 2]], None, False),
        ([[0], [1], [5]], None, False),  # each rank is bound to its own core
        ([[0, 1], [0, 1], [0, 1]], None, True),
        ([[0], [1], [0]], None, True),
        ([[0, 1, 2], [0, 1, 2], [0, 1, 2]], 2, True),  # a container with the time of two cores
    ],
)
def test_ranks_give_way_where_they_are_more_than_their_cores(
    cores_of_ranks: list[list[int]], quota: float | None, yields: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = threading.local()
    monkeypatch.setattr(barrier, "cores", lambda: own.cores)
    monkeypatch.setattr(barrier, "quota", lambda: quota and Quota(quota, ""))

    def work(world: World) -> int:
        own.cores = cores_of_ranks[world.rank]
        return barrier.patience(world)

    assert on_ranks(3, work) == 3 * [0 if yields else barrier.PATIENCE]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_all_survivors_leave_the_barrier_when_a_rank_dies(ranks: int, tmp_path: Path) -> None:
    """This includes ranks that wait for one which has begun the recovery. Survivors are at most one barrier apart."""
    mpi = needed("openmpi")
    command = mpi.mpiexec(ranks, "--with-ft", "ulfm", mpi.program("python"), WAITING, "die")
    done = run(command, tmp_path).succeeded()
    passed = json.loads(done.out)
    assert len(passed) == ranks - 1
    assert max(passed) - min(passed) <= 1
