"""`MLPClassifier` and `MLPRegressor` under a launcher, and with ranks that they start themselves (``n_jobs``)."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from jobs import ROOT, Environment, Job, descendants, needed, program_path, run

from nnmpi.mpi.host import process

TESTS = str(ROOT / "tests")
LONG = 500.0

# fits with n_jobs=2, then prints the process of the ranks and their directories
FIT = """
import time, warnings
warnings.simplefilter("ignore")
from sklearn.datasets import load_iris
from nnmpi import MLPClassifier
from nnmpi.launching.rank_pools import _pools
X, y = load_iris(return_X_y=True)
clf = MLPClassifier(max_iter=2, n_jobs=2).fit(X, y)
(pool,) = [shared.pool for shared in _pools.values()]
print(pool._process.pid, *pool.arrays.directories, flush=True)
"""


@pytest.fixture
def openmpi() -> Environment:
    return needed("openmpi")


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"condition not met after {seconds} s"
        time.sleep(0.1)


def started(job: Job) -> tuple[list[int], list[Path]]:
    """Return the processes of the ranks of a program that begins with FIT, and their directories."""
    wait_for(lambda: job.output()[0].count("\n") or job.process.poll() is not None)
    pid, *directories = job.output()[0].splitlines()[0].split()
    return [int(pid), *descendants(int(pid))], [Path(directory) for directory in directories]


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.in_turn
def test_ranks_fit_together(mpi: Environment, ranks: int, tmp_path: Path) -> None:
    command = [mpi.program("python"), program_path("fit_on_ranks.py")]
    done = run(mpi.mpiexec(ranks, *command), tmp_path, timeout=LONG).succeeded()
    assert "".join(done.out.split()) == "right" * ranks


@pytest.mark.in_turn
def test_callbacks_on_ranks(mpi: Environment, tmp_path: Path) -> None:
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")
    command = [mpi.program("python"), program_path("callbacks_on_ranks.py")]
    for ranks, words in ((3, mpi.mpiexec(3, *command)), (1, [*command, "2"])):
        out = run(words, tmp_path, timeout=LONG).succeeded().out
        assert out.count("right") == ranks


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.more("2 ranks test the same"))])
def test_scikit_learns_checks_on_ranks(openmpi: Environment, ranks: int, tmp_path: Path) -> None:
    command = [openmpi.program("python"), program_path("check_estimators.py")]
    done = run(openmpi.mpiexec(ranks, *command), tmp_path, timeout=LONG).succeeded()
    assert "".join(done.out.split()) == "passed" * ranks


@pytest.mark.slow
def test_scikit_learns_checks_with_ranks_below(openmpi: Environment, tmp_path: Path) -> None:
    command = [openmpi.program("python"), program_path("check_estimators.py"), "2"]
    assert run(command, tmp_path, timeout=LONG).succeeded().out == "passed\n"


@pytest.mark.slow
def test_grid_search_is_the_same_everywhere(openmpi: Environment, tmp_path: Path) -> None:
    alone, with_n_jobs = ([openmpi.program("python"), program_path("grid_search.py"), n] for n in ("1", "2"))
    outputs = [run(command, tmp_path, timeout=LONG).succeeded().out for command in (alone, with_n_jobs)]
    outputs += [run(openmpi.mpiexec(n, *alone), tmp_path, timeout=LONG).succeeded().out for n in (2, 4)]
    results = [json.loads(text) for text in outputs]
    assert results[1:] == results[:1] * 3


def test_ranks_end_with_a_process_that_is_killed(openmpi: Environment, tmp_path: Path) -> None:
    with Job([openmpi.program("python"), "-c", FIT + "time.sleep(1000)"], tmp_path) as job:
        pids, directories = started(job)
        assert len(pids) >= 3
        assert not any(list(directory.glob("*.npy")) for directory in directories)  # a fit leaves no copy of its data
        job.process.kill()
        job.wait()
        wait_for(lambda: not any(process(pid) for pid in pids))
        wait_for(lambda: not any(directory.exists() for directory in directories))


def test_ranks_end_with_a_process_that_ends(openmpi: Environment, tmp_path: Path) -> None:
    done = run([openmpi.program("python"), "-c", FIT], tmp_path).succeeded()
    pid, *directories = done.out.split()
    assert not process(int(pid))
    assert not any(Path(path).exists() for path in directories)


def test_a_rank_that_dies_is_an_error(openmpi: Environment, tmp_path: Path) -> None:
    after_fit = """
import os, signal
from jobs import descendants
os.kill(descendants(pool._process.pid)[-1], signal.SIGKILL)
try:
    clf.fit(X, y)
except Exception as error:
    print(type(error).__name__)
print(clf.fit(X, y).n_iter_)  # on new ranks
"""
    done = run([openmpi.program("python"), "-c", FIT + after_fit], tmp_path, timeout=LONG, PYTHONPATH=TESTS).succeeded()
    assert done.out.splitlines()[1:] == ["RunError", "2"]


def test_ctrl_c_ends_a_fit_and_keeps_its_weights(openmpi: Environment, tmp_path: Path) -> None:
    after_fit = """
warnings.simplefilter("always")
clf.set_params(max_iter=10**7, n_iter_no_change=10**7, verbose=True).fit(X, y)
print("epochs", clf.n_iter_, clf.score(X, y) > 0.1)
"""
    with Job([openmpi.program("python"), "-c", FIT + after_fit], tmp_path) as job:
        wait_for(lambda: "Iteration 3" in job.output()[0])
        os.kill(job.process.pid, signal.SIGINT)
        done = job.wait().succeeded()
    assert "Training interrupted by user" in done.err
    words = done.out.splitlines()[-1].split()
    assert words[0] == "epochs"
    assert int(words[1]) >= 2
    assert words[2] == "True"


def test_without_a_launcher_n_jobs_says_what_to_do(openmpi: Environment, tmp_path: Path) -> None:
    script = """
import nnmpi.launching.find_mpiexec as find_mpiexec
find_mpiexec.shutil.which = lambda *a, **k: None
from nnmpi import MLPClassifier
try:
    MLPClassifier(n_jobs=2).fit([[0], [1]], [0, 1])
except Exception as error:
    print(error)
"""
    done = run([openmpi.program("python"), "-c", script], tmp_path).succeeded()
    assert done.out.startswith("n_jobs=2 needs MPI: no mpiexec")
    assert "n_jobs=1 works without" in done.out
