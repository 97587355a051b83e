"""When a rank fails in any way, the job ends soon and reports the reason once."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from jobs import (
    CommandServer,
    Done,
    Environment,
    Job,
    Run,
    check_all_ended,
    mark,
    needed,
    program_path,
    read_metrics,
    run,
)

pytestmark = pytest.mark.mpi

SOON = 40.0  # seconds, on a machine that may be busy
FAILING = program_path("fail.py")
LONG = ("train", "--data", "random:2000x64x10", "--epochs", "100000")


@contextlib.contextmanager
def training(mpi: Environment, ranks: int, directory: Path) -> Iterator[Job]:
    """A long training that has finished at least one epoch."""
    with Job(mpi.nnmpi(ranks, *LONG, "--output", "run"), directory, **mark(directory)) as job:
        deadline = time.monotonic() + 60
        while not ((directory / "run/metrics.jsonl").exists() and read_metrics(directory / "run")):
            assert job.process.poll() is None, job.output()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield job


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.slow
@pytest.mark.in_turn
def test_killed_rank_ends_the_job(mpi: Environment, rank: int, tmp_path: Path) -> None:
    check_killed(mpi, 3, rank, tmp_path)


@pytest.mark.slow
def test_killed_rank_of_eight_is_named(tmp_path: Path) -> None:
    check_killed(needed("mpich"), 8, 5, tmp_path)


def check_killed(mpi: Environment, ranks: int, rank: int, tmp_path: Path) -> None:
    with training(mpi, ranks, tmp_path) as job:
        os.kill(job.rank_pid(rank), signal.SIGKILL)
        killed = time.monotonic()
        done = job.wait()
        assert time.monotonic() - killed < SOON
    assert done.status != 0
    assert "Traceback" not in done.err
    if mpi.mpi == "openmpi":  # its launcher names the dead rank
        assert re.search(rf"rank {rank}(?!\d)", done.out + done.err)
    else:
        (message,) = done.messages
        assert re.match(rf"nnmpi: rank {rank} of {ranks} on \S+ was killed by SIGKILL \(", message)
        assert "--resume" in message
    check_all_ended(tmp_path)


@pytest.mark.slow
def test_ranks_that_the_launcher_ends_are_not_named(tmp_path: Path) -> None:
    done = fail(needed("mpich"), "abort", tmp_path)
    assert done.status == 4
    assert not done.messages
    check_all_ended(tmp_path)


@pytest.mark.slow
def test_killed_launcher_leaves_nothing_behind(tmp_path: Path) -> None:
    with training(needed("mpich"), 2, tmp_path) as job:
        job.process.kill()
        job.wait()
    check_all_ended(tmp_path)


@pytest.mark.slow
def test_nothing_is_left_behind(mpi: Environment, tmp_path: Path) -> None:
    done = run(mpi.nnmpi(2, "info"), tmp_path, **mark(tmp_path))
    assert "world size" in done.out
    assert not done.messages
    check_all_ended(tmp_path)


@pytest.mark.slow
def test_rank_that_just_leaves_is_named(tmp_path: Path) -> None:
    done = fail(needed("mpich"), "leave", tmp_path)
    assert done.status != 0
    (message,) = done.messages
    assert re.match(r"nnmpi: rank 1 of 3 on \S+ ended with status 3;", message)
    check_all_ended(tmp_path)


def fail(mpi: Environment, failure: str, directory: Path) -> Done:
    """Run a job of 3 ranks that fails in this way, see `fail.py`. Starting takes about a second."""
    return run(mpi.mpiexec(3, mpi.program("python"), FAILING, failure), directory, **mark(directory))


def test_exception_on_one_rank_ends_the_job(mpi: Environment, tmp_path: Path) -> None:
    done = fail(mpi, "one", tmp_path)
    assert done.status == 1
    assert done.seconds < SOON
    assert len(done.messages) == 1
    assert re.fullmatch(r"nnmpi: rank 1 of 3 on \S+: ValueError: one of us fails", done.messages[0])
    assert done.err.count("Traceback (most recent call last)") == 1
    assert "fail.py" in done.err
    check_all_ended(tmp_path)


@pytest.mark.slow
def test_exception_on_all_ranks_is_told_once(mpi: Environment, tmp_path: Path) -> None:
    done = fail(mpi, "all", tmp_path)
    assert done.status == 1
    assert done.seconds < SOON
    assert len(done.messages) == 1
    assert re.fullmatch(r"nnmpi: rank \d of 3 on \S+: ValueError: all of us fail", done.messages[0])
    assert done.err.count("Traceback (most recent call last)") == 1


@pytest.mark.slow
def test_command_error_on_one_rank_ends_the_job(mpi: Environment, tmp_path: Path) -> None:
    done = fail(mpi, "input", tmp_path)
    assert done.status == 2
    assert done.seconds < SOON
    assert len(done.messages) == 1
    assert re.fullmatch(r"nnmpi: rank 1 of 3 on \S+: only one of us noticed", done.messages[0])
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_what_is_wrong_on_one_rank_becomes_an_error_of_all(mpi: Environment, tmp_path: Path) -> None:
    done = fail(mpi, "shared", tmp_path)
    assert done.status == 2
    assert done.messages == ["nnmpi: rank 1 read something bad (on rank 1 of 3)"]
    assert "Traceback" not in done.err


def test_defect_where_ranks_check_together_reaches_all(mpi: Environment, tmp_path: Path) -> None:
    done = fail(mpi, "defect", tmp_path)
    assert done.status == 1
    assert done.messages == ["nnmpi: KeyError: 'where no error was expected' (on rank 1 of 3)"]
    assert done.err.count("Traceback (most recent call last)") == 1


# the flags, and the number of epochs before the divergence
DIVERGING = {
    "at once": (("--learning-rate", "1000", "--loss", "mse"), 0),
    "later": (("--lr-schedule", "step", "--lr-step-epochs", "2", "--lr-step-factor", "1e9", "--loss", "mse"), 2),
}


def check_divergence(done: Done, directory: Path, good_epochs: int) -> None:
    assert done.status == 1
    assert len(done.messages) == 1
    assert "--learning-rate" in done.messages[0]
    assert f"epoch {good_epochs + 1}," in done.messages[0]
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
    diverged = Run(done, directory)
    assert np.isfinite(diverged.parameters).all()
    assert [m["epoch"] for m in diverged.metrics] == list(range(1, good_epochs + 1))


@pytest.mark.parametrize("when", DIVERGING)
@pytest.mark.slow
def test_divergence_keeps_the_last_good_model(nnmpi: CommandServer, when: str, tmp_path: Path) -> None:
    flags, good_epochs = DIVERGING[when]
    done = nnmpi("train", "--epochs", "5", *flags, "--output", "run", cwd=tmp_path)
    check_divergence(done, tmp_path / "run", good_epochs)
    assert len(done.err.splitlines()) == 1
    nnmpi("train", "--epochs", str(good_epochs), *flags, "--output", "good", cwd=tmp_path).succeeded()
    kept_model, good_model = (Run(done, tmp_path / name) for name in ("run", "good"))
    np.testing.assert_array_equal(kept_model.parameters, good_model.parameters)


@pytest.mark.parametrize("when", DIVERGING)
@pytest.mark.slow
@pytest.mark.in_turn
def test_divergence_on_three_ranks(mpi: Environment, when: str, tmp_path: Path) -> None:
    flags, good_epochs = DIVERGING[when]
    done = run(mpi.nnmpi(3, "train", "--epochs", "5", *flags, "--output", "run"), tmp_path)
    check_divergence(done, tmp_path / "run", good_epochs)
