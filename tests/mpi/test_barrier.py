"""No rank passes the barrier in shared memory before all have come; it is MPI's where memory does not do."""

import json
import platform
from pathlib import Path

import pytest
from jobs import Environment, needed, run

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the barrier is MPI's on other processors"),
]

WAITING = str(Path(__file__).with_name("waiting.py"))


@pytest.mark.parametrize("ranks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4, 5, 8))])
def test_nobody_passes_before_all_have_come(mpi: Environment, ranks: int, tmp_path: Path) -> None:
    done = run(mpi.mpiexec(ranks, mpi.program("python"), WAITING), tmp_path).succeeded()
    assert json.loads(done.out) == ranks * [[True, False]]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "how"), [([], ["foreign"]), (["--with-ft", "ulfm"], [])])
def test_on_other_processors_and_where_ranks_may_die_it_is_that_of_mpi(
    where: list[str], how: list[str], tmp_path: Path
) -> None:
    mpi = needed("openmpi")
    done = run(mpi.mpiexec(2, *where, mpi.program("python"), WAITING, *how), tmp_path).succeeded()
    assert json.loads(done.out) == 2 * [[False, False]]
