"""The directory of a run: its default name, and a lock so that two runs never share it."""

# reported as meta-pytorch/torchtune 481, deepinv/deepinv 525: two runs wrote the same files

import contextlib
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from jobs import CommandServer, Environment, Job, needed, run, unchanged

from nnmpi.errors import InputError, RunError
from nnmpi.files import atomic, run_lock
from nnmpi.files.run_lock import NAME, RunLock

ENDLESS = ("train", "--data", "iris", "--epochs", "1000000", "--checkpoint-every", "50steps", "--output", "run")
SHORT = ("train", "--data", "iris", "--epochs", "1")


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.05)


def start(mpi: Environment, ranks: int, directory: Path) -> Job:
    job = Job(mpi.nnmpi(ranks, *ENDLESS) if ranks > 1 else [mpi.program("nnmpi"), *ENDLESS], directory)
    wait_for(directory / "run/checkpoints/000000000050.json")
    return job


def stop(pid: int) -> None:
    """Stop a process and wait until all its threads stand still: one inside a system call first finishes the call."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + 60
    while any(
        stat.read_text().rpartition(")")[2].split()[0] != "T" for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("flags", [(), ("--overwrite",), ("--resume",)])
def test_second_run_is_refused_and_changes_nothing(
    nnmpi: CommandServer, ranks: int, flags: tuple[str, ...], tmp_path: Path
) -> None:
    with start(needed("openmpi"), ranks, tmp_path) as job:
        pid = job.process.pid if ranks == 1 else job.rank_pid(0)
        stop(pid)  # so that it changes no files itself
        with unchanged(tmp_path):
            second = nnmpi(*ENDLESS, "--seed", "3", *flags, cwd=tmp_path)
        os.kill(pid, signal.SIGCONT)
        evaluation = nnmpi("evaluate", "run", cwd=tmp_path)
        assert job.process.poll() is None
    assert second.status == 2
    (message,) = second.messages
    assert f"process {pid}" in message
    assert "--output" in message
    assert evaluation.status == 0


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_killed_run_is_resumed_at_once(nnmpi: CommandServer, ranks: int, tmp_path: Path) -> None:
    with start(needed("openmpi"), ranks, tmp_path) as job:
        job.kill()
    assert (tmp_path / "run" / NAME).exists()
    done = nnmpi(*ENDLESS, "--resume", "--epochs", "1", cwd=tmp_path).succeeded()
    assert done.seconds < run_lock.PATIENCE
    assert not (tmp_path / "run" / NAME).exists()


@pytest.mark.mpi
def test_of_three_runs_started_together_one_trains(tmp_path: Path) -> None:
    command = [needed("openmpi").program("nnmpi"), "train", "--data", "iris", "--epochs", "300", "--output", "run"]
    with contextlib.ExitStack() as stack:
        jobs = [stack.enter_context(Job([*command, "--seed", str(seed)], tmp_path)) for seed in range(3)]
        results = [job.wait(120) for job in jobs]
    assert sorted(result.status for result in results) == [0, 2, 2]
    winner = [result.status for result in results].index(0)
    assert json.loads((tmp_path / "run/config.json").read_text())["settings"]["seed"] == winner
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 300


@pytest.mark.mpi
@pytest.mark.slow
def test_survivors_of_rank_0_go_on_in_the_directory(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    command = [mpi.program("nnmpi"), "launch", "-n", "3", "--", *ENDLESS[:4], "400", *ENDLESS[5:]]
    with Job(command, tmp_path) as job:
        wait_for(tmp_path / "run/checkpoints/000000000050.json")
        os.kill(job.rank_pid(0), signal.SIGKILL)
        job.wait(180).succeeded()
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["finished"], config["lost_ranks"]) == (True, [0])
    assert not (tmp_path / "run" / NAME).exists()


def lock_of_another_host(directory: Path, age: float) -> Path:
    """Write the lock file of a run on another host, whose file locks this host does not see."""
    path = directory / NAME
    path.write_text(json.dumps({"run": "other", "host": "node7", "pid": 1, "boot": "another kernel", "since": "then"}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_lock_of_a_host_without_heartbeat_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "PATIENCE", 1.0)
    for age in (5, 5000):
        path = lock_of_another_host(tmp_path, age)
        lock = RunLock(tmp_path, "mine")
        assert json.loads(path.read_text())["host"] == socket.gethostname()
        lock.release()
        assert list(tmp_path.iterdir()) == []


def test_heartbeat_of_another_host_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lock_of_another_host(tmp_path, 5)
    text = path.read_text()
    monkeypatch.setattr(run_lock.time, "sleep", lambda seconds: os.utime(path))
    with pytest.raises(InputError, match="process 1 on node7"):
        RunLock(tmp_path, "mine")
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_lock_without_locks_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(file: int, flags: int) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(atomic.fcntl, "flock", unsupported)
    monkeypatch.setattr(run_lock, "BEAT", 0.05)
    first = RunLock(tmp_path, "first")
    with pytest.raises(InputError):
        RunLock(tmp_path, "second")
    first.release()
    RunLock(tmp_path, "second").release()


def test_owner_notices_that_it_was_thought_dead(tmp_path: Path) -> None:
    first = RunLock(tmp_path, "one")
    second = RunLock(tmp_path, "one")  # a survivor of the same run
    with pytest.raises(RunError, match="taken over"):
        first.check()
    first.release()
    second.check()
    second.release()


@pytest.mark.parametrize("content", ["", "[1]", "{" * 5000, '{"pid": null}'])
def test_damaged_lock_of_nobody_is_taken_over(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "PATIENCE", 0.5)
    (tmp_path / NAME).write_text(content)
    RunLock(tmp_path, "mine").release()


def test_default_directories_are_numbered(nnmpi: CommandServer, tmp_path: Path) -> None:
    first = nnmpi(*SHORT, cwd=tmp_path).succeeded()
    assert "output    runs/iris" in first.out.splitlines()
    model = (tmp_path / "runs/iris/model.safetensors").read_bytes()
    second = nnmpi(*SHORT, "--seed", "1", cwd=tmp_path).succeeded()
    assert "output    runs/iris-2" in second.out.splitlines()
    nnmpi(*SHORT, "--seed", "2", cwd=tmp_path).succeeded()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["iris", "iris-2", "iris-3"]
    assert (tmp_path / "runs/iris/model.safetensors").read_bytes() == model
    nnmpi(*SHORT, "--seed", "1", "--overwrite", cwd=tmp_path).succeeded()
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert (tmp_path / "runs/iris/model.safetensors").read_bytes() != model


def test_data_of_one_name_have_directories_of_their_own(nnmpi: CommandServer, tmp_path: Path) -> None:
    import numpy as np

    x = np.random.default_rng(0).normal(size=(100, 3))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "data.npz", X=x, y=np.arange(100) % 2)
        nnmpi("train", "--data", f"{folder}/data.npz", "--epochs", "1", cwd=tmp_path).succeeded()
    done = nnmpi("train", "--data", "a/data.npz", "--epochs", "2", "--resume", cwd=tmp_path).succeeded()
    settings = [
        json.loads((tmp_path / f"runs/{name}/config.json").read_text())["settings"] for name in ("data", "data-2")
    ]
    assert [(s["data"], s["epochs"]) for s in settings] == [("a/data.npz", 2), ("b/data.npz", 1)]
    assert "output    runs/data" in done.out.splitlines()


def test_resume_takes_the_newest_unfinished_run(nnmpi: CommandServer, tmp_path: Path) -> None:
    for seed in ("1", "2", "2"):
        nnmpi(*SHORT, "--seed", seed, cwd=tmp_path).succeeded()
    config = tmp_path / "runs/iris-2/config.json"
    config.write_text(config.read_text().replace('"finished": true', '"finished": false'))
    done = nnmpi(*SHORT, "--seed", "2", "--epochs", "2", "--resume", cwd=tmp_path).succeeded()
    assert "output    runs/iris-2" in done.out.splitlines()
    assert json.loads(config.read_text())["finished"] is True
    assert len((config.parent / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.mpi)])
def test_finished_run_is_not_overwritten(nnmpi: CommandServer, ranks: int, tmp_path: Path) -> None:
    command = (*SHORT, "--output", "run")
    nnmpi(*command, cwd=tmp_path).succeeded()
    with unchanged(tmp_path):
        done = run(needed("openmpi").nnmpi(ranks, *command), tmp_path) if ranks > 1 else nnmpi(*command, cwd=tmp_path)
    assert done.status == 2
    (message,) = done.messages
    assert all(word in message for word in ("--output run", "--overwrite", "--resume"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_files_of_another_program_are_not_overwritten(nnmpi: CommandServer, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"model_type": "bert"}')
    with unchanged(tmp_path):
        done = nnmpi(*SHORT, "--output", ".", cwd=tmp_path)
    assert done.status == 2
    assert name in done.messages[0]


@pytest.mark.mpi
def test_launch_decides_the_directory_once(mpi: Environment, tmp_path: Path) -> None:
    for _ in range(2):
        run([mpi.program("nnmpi"), "launch", "-n", "2", "--restarts", "1", "--", *SHORT], tmp_path).succeeded()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["iris", "iris-2"]
