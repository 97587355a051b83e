# From open-mpi/ompi 1418 and Pyomo/mpi-sppy 854: ranks continue, or wait for ever, after their launcher was killed.
"""When a launcher dies, its ranks end. A process that has no launcher is not affected."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import Environment, Job, check_all_ended, mark, needed, run, variables, wait_for_an_epoch

pytestmark = pytest.mark.mpi

LONG = ("train", "--epochs", "1000000", "--output", "run")
WAYS = {
    "deterministic": ("{nnmpi}", *LONG, "--deterministic"),
    "below a shell": ("sh", "-c", f"{{nnmpi}} {' '.join(LONG)}; true"),
    "in large products": ("{nnmpi}", *LONG, "--data", "random:2000x300x10", "--hidden", "900,900"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.in_turn
def test_killed_mpiexec_leaves_no_rank(mpi: Environment, way: str, tmp_path: Path) -> None:
    words = [word.replace("{nnmpi}", mpi.program("nnmpi")) for word in WAYS[way]]
    with Job(mpi.mpiexec(3, *words), tmp_path, **mark(tmp_path)) as job:
        wait_for_an_epoch(job, tmp_path / "run")
        job.process.kill()
        job.process.wait(60)
        check_all_ended(tmp_path)
        assert not list(Path(job.scratch).glob("ompi.*"))


def test_killed_mpirun_leaves_no_rank_under_fault_tolerance(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    command = [mpi.program("mpiexec"), "--with-ft", "ulfm", "-n", "2", mpi.program("nnmpi"), *LONG]
    with Job(command, tmp_path, **mark(tmp_path)) as job:
        wait_for_an_epoch(job, tmp_path / "run")
        job.process.kill()
        job.process.wait(60)
        check_all_ended(tmp_path)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGQUIT", "SIGABRT"])
@pytest.mark.in_turn
def test_launcher_ends_with_nnmpi_launch(mpi: Environment, name: str, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("localhost slots=2\n" if mpi.mpi == "openmpi" else "localhost:2\n")
    command = [mpi.program("nnmpi"), "launch", "-n", "2", "--hostfile", "hosts", "--restarts", "2", "--", *LONG]
    with Job(command, tmp_path, **mark(tmp_path)) as job:
        wait_for_an_epoch(job, tmp_path / "run")
        job.process.send_signal(getattr(signal, name))
        job.process.wait(60)
        check_all_ended(tmp_path)
        assert not list(Path(job.scratch).glob("nnmpi-*"))


def test_training_without_a_launcher_outlives_its_shell(tmp_path: Path) -> None:
    nnmpi = Path(sys.executable).with_name("nnmpi")
    script = f"setsid nohup {nnmpi} train --data iris --epochs 200 --output run >out 2>&1 & echo $!"
    shell = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=variables(), capture_output=True, text=True)
    training = int(shell.stdout)
    try:
        deadline = time.monotonic() + 180
        while Path(f"/proc/{training}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert (tmp_path / "out").read_text().splitlines()[-1].startswith("test accuracy")
    finally:
        if Path(f"/proc/{training}").exists():
            os.kill(training, signal.SIGKILL)


def test_exit_status_below_a_parent_that_ignores_its_children(mpi: Environment, tmp_path: Path) -> None:
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [mpi.program("nnmpi"), "launch", "-n", "2", "--", "evaluate", "missing"]
    assert run([sys.executable, "-c", code, *command], tmp_path, timeout=120).status == 2


@pytest.mark.parametrize("reader", ["gone", "asleep", "there"])
def test_last_words_never_wait(reader: str) -> None:
    """Standard error is a pipe without a reader, a full pipe, or a pipe with a reader."""
    source, sink = os.pipe()
    if reader == "gone":
        os.close(source)
    if reader == "asleep":
        os.set_blocking(sink, False)
        for size in (4096, 1):
            try:
                while True:
                    os.write(sink, bytes(size))
            except BlockingIOError:
                pass
        os.set_blocking(sink, True)
    code = "from nnmpi.mpi.last_words import last_words; last_words('x' * 100); print('done')"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=sink, timeout=60, check=True)
    assert done.stdout == b"done\n"
    if reader == "there":
        assert os.read(source, 1000) == b"x" * 100
    if reader != "gone":
        os.close(source)
    os.close(sink)


def test_last_words_are_read_before_the_rank_ends() -> None:
    """A launcher may end the job, and itself, as soon as the rank ends."""
    source, sink = os.pipe()
    code = "import nnmpi.mpi.last_words as m; m.PATIENCE = 60; m.last_words('why')"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=sink)
    os.close(sink)
    assert select.select([source], [], [], 60)[0]
    time.sleep(0.3)
    assert process.poll() is None
    assert os.read(source, 100) == b"why"
    assert process.wait(60) == 0
    os.close(source)
