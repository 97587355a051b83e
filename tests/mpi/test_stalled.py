"""No MPI reports stopped or hung ranks: the job ends and names the rank for which it waited."""

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import Done, Environment, Job, Run, needed, program_path
from test_timeline import check_tracks

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

DISTURBED = program_path("train_with_fault.py")
TIMEOUT = 4  # seconds; longer than ranks wait for each other while they start on a busy machine
ENDS = 45.0  # seconds within which a stalled job ends
RANKS = 3


def stalled(mpi: Environment, fault: int | str, rank: int, cwd: Path, *flags: str) -> Done:
    """Run a training with a fault on a rank before update 50, in epoch 2, and check that all its processes end."""
    train = ("train", "--epochs", "1000", "--output", "run", "--stall-timeout", str(TIMEOUT), *flags)
    command = mpi.mpiexec(RANKS, mpi.program("python"), DISTURBED, str(fault), "50", str(rank), *train)
    with Job(command, cwd) as job:
        while not (cwd / "run/metrics.jsonl").exists():  # until all ranks have started
            assert job.process.poll() is None, job.output()
            time.sleep(0.05)
        pids = [job.rank_pid(r) for r in range(RANKS)]
        started = time.monotonic()
        done = job.wait()
        assert time.monotonic() - started < TIMEOUT + ENDS
    end = time.monotonic() + 60
    while remaining := [pid for pid in pids if b"train_with_fault.py" in command_line(pid)]:
        assert time.monotonic() < end, remaining
        time.sleep(0.05)
    return done


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def check(done: Done, rank: int, fate: str) -> None:
    others = ", ".join(str(r) for r in range(RANKS) if r != rank)
    (message,) = done.messages
    # before update 50 the rank is in step 6 of epoch 2, after the reduction: the others wait in the reduction of step 7
    assert re.fullmatch(
        rf"nnmpi: no progress for \d+ s: ranks {others} wait in training, epoch 2, step 7, for rank {rank} on \S+ "
        rf"\({re.escape(fate)}\). The job ends \(--stall-timeout {TIMEOUT}, 0 is off\)",
        message,
    )
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("library", "rank"), [("openmpi", 0), ("mpich", 1)])
def test_stopped_rank_is_named_and_the_job_ends(library: str, rank: int, tmp_path: Path) -> None:
    mpi = needed(library)
    done = stalled(mpi, int(signal.SIGSTOP), rank, tmp_path)
    check(done, rank, "stopped by a signal")
    # MPICH's launcher kills the remaining ranks and combines the statuses of all ranks, 1 and 9
    assert done.status in ((1,) if mpi.mpi == "openmpi" else (1, 9))


@pytest.mark.parametrize(
    ("fault", "rank"),
    [
        (int(signal.SIGSTOP), 0),
        pytest.param(
            "sleep", 1, marks=pytest.mark.more("detected like a stopped rank, and named as in the test below")
        ),
    ],
    ids=["stopped", "hung"],
)
def test_survivors_go_on_without_a_stopped_or_hung_rank(
    fault: int | str, rank: int, train: Callable[..., Run], tmp_path: Path
) -> None:
    flags = ("--epochs", "3", "--deterministic")
    mpi = needed("openmpi")
    job = [mpi.program("python"), DISTURBED, str(fault), "50", str(rank), "train", *flags, "--output", "run"]
    timeline_flags = ("--stall-timeout", str(TIMEOUT), "--timeline", "t.json")
    with Job([*mpi.mpiexec(RANKS, "--with-ft", "ulfm"), *job, *timeline_flags], tmp_path) as running:
        done = running.wait()
    assert done.succeeded().err.count("The others go on without it") == 1
    model = "model.safetensors"
    assert (tmp_path / "run" / model).read_bytes() == (train(*flags).directory / model).read_bytes()
    timeline = json.loads((tmp_path / "t.json").read_text())
    assert timeline["otherData"]["lost_ranks"] == [rank]
    assert {e["pid"] for e in timeline["traceEvents"]} == {0, 1, 2} - {rank}
    check_tracks([e for e in timeline["traceEvents"] if e["ph"] == "X"])
    phases = [e["name"] for e in timeline["traceEvents"] if e["pid"] == 2 and e.get("cat") == "phase"]
    assert phases[:4] == ["start-up", "training", "evaluation", "training"]
    assert phases[4] == "recovery"


def test_hung_rank_is_named_with_the_place_where_it_hangs(tmp_path: Path) -> None:
    done = stalled(needed("openmpi"), "sleep", 2, tmp_path)
    check(done, 2, "still busy in training, epoch 2, step 6")
    assert done.status == 1


@pytest.mark.in_turn
def test_short_stop_changes_no_bit(mpi: Environment, train: Callable[..., Run], tmp_path: Path) -> None:
    rank = {"openmpi": "0", "mpich": "1"}[mpi.mpi]
    flags = ("--epochs", "2", "--deterministic")
    job = [mpi.program("python"), DISTURBED, "pause", "50", rank, "train", *flags, "--output", "run"]
    with Job(mpi.mpiexec(RANKS, *job, "--stall-timeout", "30"), tmp_path) as running:
        done = running.wait()
    assert done.succeeded().messages == []
    model = "model.safetensors"
    assert (tmp_path / "run" / model).read_bytes() == (train(*flags).directory / model).read_bytes()
