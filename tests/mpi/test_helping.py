"""Ranks that are done help those that are not: each piece is done once, by whomever, and with the same bits."""

import json
from pathlib import Path

import pytest
from jobs import Environment, needed, ranks_help, run

pytestmark = [pytest.mark.mpi, ranks_help]

HELPFUL = str(Path(__file__).with_name("helpful.py"))
slow = pytest.mark.slow


@pytest.mark.parametrize("ranks", [2, *(pytest.param(n, marks=slow) for n in (3, 4, 6))])
def test_slow_ranks_are_helped_and_nothing_else_changes(mpi: Environment, ranks: int, tmp_path: Path) -> None:
    done = run(mpi.mpiexec(ranks, mpi.program("python"), HELPFUL), tmp_path).succeeded()
    assert json.loads(done.out) == ranks * [[True, True, True, True, True]]


@slow
@pytest.mark.parametrize(
    ("where", "how"), [([], ["foreign"]), ([], ["unwanted"]), ([], ["refused"]), (["--with-ft", "ulfm"], [])]
)
def test_all_help_or_nobody_does(where: list[str], how: list[str], tmp_path: Path) -> None:
    mpi = needed("openmpi")
    done = run(mpi.mpiexec(2, *where, mpi.program("python"), HELPFUL, *how), tmp_path).succeeded()
    assert json.loads(done.out) == 2 * [[False]]
