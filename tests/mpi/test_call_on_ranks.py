"""`nnmpi.train` under a launcher: on all ranks of the job, on a part of them, and on each rank alone."""

from pathlib import Path

import pytest
from jobs import Environment, needed, program_path, run


@pytest.mark.parametrize(
    "ranks", [1, 2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
@pytest.mark.in_turn
def test_trains_on_any_communicator(mpi: Environment, ranks: int, tmp_path: Path) -> None:
    command = [mpi.program("python"), program_path("train_on_communicators.py")]
    done = run(mpi.mpiexec(ranks, *command), tmp_path).succeeded()
    assert "".join(done.out.split()) == "equal" * ranks  # a line end may come after the next word
    assert not done.messages


@pytest.mark.slow
def test_a_script_without_mpi_trains_on_all_ranks(mpi: Environment, tmp_path: Path) -> None:
    script = "import nnmpi; r = nnmpi.train('digits', epochs=2); print(r.metrics[-1]['world_size'])"
    done = run(mpi.mpiexec(3, mpi.program("python"), "-c", script), tmp_path).succeeded()
    assert "".join(done.out.split()) == "333"


def test_an_error_is_raised_on_all_ranks(mpi: Environment, tmp_path: Path) -> None:
    script = (
        "import nnmpi\n"
        "try:\n    nnmpi.train('nothing.npz')\n"
        "except nnmpi.errors.InputError as error:\n    print('refused')"
    )
    done = run(mpi.mpiexec(2, mpi.program("python"), "-c", f"import nnmpi.errors\n{script}"), tmp_path).succeeded()
    assert "".join(done.out.split()) == "refused" * 2


@pytest.mark.parametrize(("library", "launcher"), [("openmpi", "mpich"), ("mpich", "openmpi")])
def test_a_launcher_of_another_mpi_is_refused(library: str, launcher: str, tmp_path: Path) -> None:
    """Otherwise each rank would train alone in a world of one rank, or MPI would end the process."""
    script = "import nnmpi; print(nnmpi.train('iris', epochs=1).scores)"
    command = [needed(library).program("python"), "-c", script]
    done = run(needed(launcher).mpiexec(2, *command), tmp_path)
    assert done.status != 0
    assert not done.out.strip()
    assert "from different MPIs" in done.err


@pytest.mark.slow
def test_ranks_resume_and_fail_together(mpi: Environment, tmp_path: Path) -> None:
    command = [mpi.program("python"), program_path("resume_on_ranks.py")]
    done = run(mpi.mpiexec(2, *command), tmp_path, timeout=60).succeeded()
    assert "".join(done.out.split()) == "equal" * 2
    assert not done.messages


@pytest.mark.in_turn
def test_a_mistake_on_one_rank_is_an_error_on_all(mpi: Environment, tmp_path: Path) -> None:
    """One rank passes a wrong setting, wrong samples, or no target: the others raise an error, too, and do not wait."""
    script = (
        "import os, nnmpi, nnmpi.errors\n"
        "wrong = os.environ.get('OMPI_COMM_WORLD_RANK', os.environ.get('PMI_RANK')) == '1'\n"
        "x, y = [[1.0], [2.0], [3.0], [4.0]] * 9, [0, 1] * 18\n"
        "for data in ((x, y, {'epochs': -1}), ([['a']], y, {}), (x, None, {})):\n"
        "    a, b, settings = data if wrong else (x, y, {})\n"
        "    try:\n        nnmpi.train(a, b, **settings)\n"
        "    except (nnmpi.errors.InputError, nnmpi.errors.RunError):\n        print('refused')\n"
    )
    done = run(mpi.mpiexec(2, mpi.program("python"), "-c", script), tmp_path, timeout=60).succeeded()
    assert "".join(done.out.split()) == "refused" * 6
