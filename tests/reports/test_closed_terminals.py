# From open-mmlab/mmsegmentation 1998: the terminal of a training is closed (lost ssh connection).
"""SIGHUP stops a training with a checkpoint; under nohup it is ignored. Ctrl-Z stops a job and its ranks."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import Environment, Job, descendants, read_metrics, variables

NNMPI = str(Path(sys.executable).with_name("nnmpi"))
LONG = ("train", "--epochs", "1000000", "--output", "run")


def wait_until(condition: Callable[[], object], terminal: int | None = None) -> None:
    """Wait, and read the output of the terminal meanwhile: a full terminal would block its writers."""
    deadline, output = time.monotonic() + 120, b""
    while not condition():
        assert time.monotonic() < deadline, output.decode(errors="replace")
        if terminal is None:
            time.sleep(0.05)
        elif select.select([terminal], [], [], 0.05)[0]:
            output = (output + os.read(terminal, 65536))[-2000:]


def epochs(directory: Path) -> int:
    return len(read_metrics(directory)) if (directory / "metrics.jsonl").exists() else 0


@pytest.mark.parametrize("flags", [(), ("--deterministic",), ("--checkpoint-every", "1000 steps")])
def test_hangup_stops_with_a_checkpoint(flags: tuple[str, ...], tmp_path: Path) -> None:
    with Job([NNMPI, *LONG, *flags], tmp_path) as job:
        wait_until(lambda: epochs(tmp_path / "run") or job.process.poll() is not None)
        job.process.send_signal(signal.SIGHUP)
        done = job.wait()
    assert done.status == 129
    assert list((tmp_path / "run/checkpoints").glob("*.json"))
    assert "stopped by SIGHUP" in done.err


@pytest.mark.mpi
def test_hangup_of_one_rank_stops_all_with_a_checkpoint(mpi: Environment, tmp_path: Path) -> None:
    """MPI libraries install their own handlers of SIGHUP when they start."""
    with Job(mpi.nnmpi(3, *LONG), tmp_path) as job:
        wait_until(lambda: epochs(tmp_path / "run") or job.process.poll() is not None)
        os.kill(job.rank_pid(1), signal.SIGHUP)
        done = job.wait()
    assert list((tmp_path / "run/checkpoints").glob("*.json"))
    assert "stopped by SIGHUP" in done.err


def test_nohup_goes_on(tmp_path: Path) -> None:
    with Job(["nohup", NNMPI, *LONG], tmp_path) as job:
        wait_until(lambda: epochs(tmp_path / "run") or job.process.poll() is not None)
        job.process.send_signal(signal.SIGHUP)
        before = epochs(tmp_path / "run")
        wait_until(lambda: epochs(tmp_path / "run") > before + 2)
        job.process.send_signal(signal.SIGTERM)
        assert job.wait().status == 143


@pytest.mark.mpi
@pytest.mark.parametrize("restarts", ["0", "2"])
@pytest.mark.in_turn
def test_stopped_job_stands_still_and_goes_on(mpi: Environment, restarts: str, tmp_path: Path) -> None:
    command = [mpi.program("nnmpi"), "launch", "-n", "2", "--restarts", restarts, "--", *LONG, "--stall-timeout", "2"]
    with Job(command, tmp_path) as job:
        wait_until(lambda: epochs(tmp_path / "run") or job.process.poll() is not None)
        job.process.send_signal(signal.SIGTSTP)
        pids = [job.process.pid, job.rank_pid(0), job.rank_pid(1)]
        wait_until(lambda: all(state(pid) == "T" for pid in pids))
        before = epochs(tmp_path / "run")
        time.sleep(5)  # longer than the stall timeout
        assert epochs(tmp_path / "run") == before
        job.process.send_signal(signal.SIGCONT)
        wait_until(lambda: epochs(tmp_path / "run") > before + 2)
        job.process.send_signal(signal.SIGINT)
        done = job.wait()
    assert done.status == 130
    assert "no progress" not in done.err


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.mpi
@pytest.mark.parametrize("tostop", ["tostop", "-tostop"])
@pytest.mark.in_turn
def test_ctrl_z_and_fg_in_a_shell(mpi: Environment, tostop: str, tmp_path: Path) -> None:
    """With tostop, the terminal stops background processes that write to it; the launcher is one of them."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvpe("bash", ["bash", "--norc", "-i"], variables())
    try:
        command = f"stty {tostop}; {mpi.program('nnmpi')} launch -n 2 -- {' '.join(LONG)}\n"
        os.write(terminal, command.encode())
        wait_until(lambda: epochs(tmp_path / "run"), terminal)
        os.write(terminal, b"\x1a")
        ranks = [p for p in descendants(pid) if is_rank(p)]
        assert len(ranks) == 2
        wait_until(lambda: all(state(p) == "T" for p in ranks), terminal)
        before = epochs(tmp_path / "run")
        os.write(terminal, b"fg\n")
        wait_until(lambda: epochs(tmp_path / "run") > before + 2, terminal)
        os.write(terminal, b"\x03")
        wait_until(lambda: not any(Path(f"/proc/{p}").exists() for p in ranks), terminal)
        assert list((tmp_path / "run/checkpoints").glob("*.json"))
    finally:
        for p in [*descendants(pid), pid]:
            os.kill(p, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def is_rank(pid: int) -> bool:
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    name = Path(f"/proc/{pid}/comm").read_text()
    return name.startswith(("nnmpi\n", "python")) and any(
        mark in environment for mark in (b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK=")
    )
