# From PyFR's pytest-mpi 49: one rank refuses its command line, and the others wait for it.
"""If a rank refuses its input before MPI starts, the job ends with status 2 and one message that names the rank."""

from pathlib import Path

import pytest
from jobs import Environment, run, unchanged

pytestmark = pytest.mark.mpi

TRAIN = ("train", "--data", "iris", "--epochs", "1", "--output", "run")
REFUSED = {
    "value out of range": ((*TRAIN, "--batch-size", "0"), "--batch-size"),
    "unknown command": (("trian",), "trian"),
    "bad name of a file": (("predict", "run", "--data", "iris", "--out", "x.doc"), "x.doc"),
    "missing argument": (("predict", "run"), "DATA"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.in_turn
def test_one_rank_refuses(mpi: Environment, case: str, rank: int, tmp_path: Path) -> None:
    words, text = REFUSED[case]
    commands = [[mpi.program("nnmpi"), *TRAIN] for _ in range(3)]
    commands[rank] = [mpi.program("nnmpi"), *words]
    with unchanged(tmp_path):
        done = run(mpi.mpiexec_each(*commands), tmp_path, timeout=120)
    assert done.status == 2
    (message,) = done.messages
    assert text in message
    assert message.endswith(f"(on rank {rank} of 3)")


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.in_turn
def test_all_ranks_refuse_and_one_speaks(mpi: Environment, case: str, tmp_path: Path) -> None:
    words, text = REFUSED[case]
    done = run(mpi.nnmpi(3, *words), tmp_path, timeout=120)
    assert done.status == 2
    (message,) = done.messages
    assert text in message
    assert "on rank" not in message


def test_one_rank_has_no_mpi_library(mpi: Environment, tmp_path: Path) -> None:
    stub = tmp_path / "stub/mpi4py"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("class rc: pass\n")
    (stub / "MPI.py").write_text('raise RuntimeError("cannot load MPI library")\n')
    command = [mpi.program("nnmpi"), *TRAIN]
    done = run(mpi.mpiexec_each(command, ["env", f"PYTHONPATH={stub.parent}", *command]), tmp_path, timeout=120)
    assert done.status == 2
    (message,) = done.messages
    assert "rank 1 of 2" in message
    assert "pip install" in message
