"""Ranks below a Python process (``n_jobs``), without MPI; with real ranks: mpi/test_estimators_on_ranks.py."""

import dataclasses
import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nnmpi import MLPClassifier
from nnmpi.errors import RunError
from nnmpi.launching import rank_pool
from nnmpi.launching.array_files import ArrayFiles
from nnmpi.launching.mpiexec_command import Command
from nnmpi.mpi.checks import training_threads
from nnmpi.mpi.host import children, process
from nnmpi.nn.architecture import Architecture
from nnmpi.training import fit_below
from nnmpi.training.fit_state import FitSettings
from nnmpi.training.requests import Requests


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_deterministic_ranks_use_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {field.name: 0 for field in dataclasses.fields(FitSettings)} | {"deterministic": True}
    architecture = Architecture((2, 1), "relu", "identity", "mse", "float32")
    files = ArrayFiles([tmp_path])
    for name in ("x", "y", "training", "parameters", "optimizer"):
        files.put(name, np.zeros(3))
    random = np.random.RandomState(0)
    job = {
        "arrays": ["x", "y", "training", "parameters", "optimizer"],
        "settings": settings,
        "state": {},
        "architecture": dataclasses.asdict(architecture),
        "random": fit_below._random_state(random),
        "epochs": False,
    }
    seen: list[set[int]] = []
    monkeypatch.setattr(fit_below, "fit", lambda *_: seen.append(threads()) or iter(()))
    own, other = socket.socketpair()
    with own, other, threadpool_limits(2, "blas"):
        fit_below.Rank(own, files)._fit(job, Requests(), SimpleNamespace(rank=1, size=2))
    assert seen == [{1}]


@pytest.mark.parametrize(
    ("deterministic", "given", "expected"), [(True, None, 1), (True, 3, 3), (False, 3, 3), (False, None, 5)]
)
def test_threads_of_a_training(
    monkeypatch: pytest.MonkeyPatch, deterministic: bool, given: int | None, expected: int
) -> None:
    monkeypatch.setattr("nnmpi.mpi.checks.blas_threads", lambda world: 5)
    assert training_threads(None, deterministic, given) == expected


def test_array_that_was_made_in_the_files_is_not_copied(tmp_path: Path) -> None:
    files = ArrayFiles([tmp_path])
    array = files.new("x", (3,), np.float32)
    array[:] = [1, 2, 3]
    before = (tmp_path / "x.npy").stat()
    files.put("x", array)
    assert (tmp_path / "x.npy").stat() == before
    assert files.get("x").tolist() == [1, 2, 3]
    files.put("x", np.zeros(2))
    assert files.get("x").tolist() == [0, 0]
    files.put("x", array)  # another array has taken its place
    assert files.get("x").tolist() == [1, 2, 3]
    files.clear()
    files.put("x", array)
    assert files.get("x").tolist() == [1, 2, 3]


def test_too_many_ranks_for_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_pool, "available", lambda: 2)
    monkeypatch.setattr(rank_pool, "RankPool", lambda module, ranks: pytest.fail("started"))
    with pytest.raises(ValueError, match=r"^n_jobs=17 is too many for the 2 cores .* at most 16 .* n_jobs=-1"):
        MLPClassifier(n_jobs=17).fit([[0.0], [1.0]], [0, 1])


def test_no_rank_outlives_its_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that do not connect, below a launcher that does not end them, all of which ignore SIGTERM."""
    launcher = ["sh", "-c", "trap '' TERM; sleep 600 & sleep 600 & sleep 600 & wait"]
    monkeypatch.setattr(rank_pool, "find_launcher", lambda: None)
    monkeypatch.setattr(rank_pool, "module_command", lambda *_: Command((*launcher,), {}))
    monkeypatch.setattr(rank_pool, "START", 1.0)
    monkeypatch.setattr(rank_pool, "END", 0.2)
    started: list[int] = []
    end_of_output = rank_pool.RankPool._end_of_output

    def note_processes(pool: rank_pool.RankPool) -> str:
        started.extend([pool._process.pid, *children(pool._process.pid)])
        return end_of_output(pool)

    monkeypatch.setattr(rank_pool.RankPool, "_end_of_output", note_processes)
    with pytest.raises(RunError, match="could not start 3 ranks for n_jobs=3"):
        rank_pool.RankPool("module", 3)
    assert len(started) == 4
    for _ in range(600):  # the system takes a moment to end what was killed
        left = [pid for pid in started if process(pid)]
        if not left:
            return
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    pytest.fail("ranks are left")


@pytest.mark.parametrize("end", ["all read", "something not read", "half a line"])
def test_rank_ends_however_its_parent_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(fit_below, "END", 0.0)
    monkeypatch.setattr(fit_below.os, "_exit", statuses.append)
    (tmp_path / "memory").mkdir()
    own, parent = socket.socketpair()
    with own:
        if end == "something not read":
            own.sendall(b"a message of this rank")  # closing the other end now resets the connection
        elif end == "half a line":
            parent.sendall(b'{"arrays": ["x", ')
        parent.close()
        rank = fit_below.Rank(own, ArrayFiles([tmp_path / "memory"]))
        rank.listen()
    assert rank._jobs.get(timeout=1) is None
    assert statuses == [1]
    assert list(tmp_path.iterdir()) == []


def test_no_directory_is_left_if_the_parent_died_while_its_ranks_started(tmp_path: Path) -> None:
    directories = [tmp_path / "memory", tmp_path / "disk"]
    for directory in directories:
        directory.mkdir()
    with socket.socket(socket.AF_UNIX) as parent:
        parent.bind(str(directories[0] / "socket"))
    with pytest.raises(ConnectionRefusedError):
        fit_below.main(str(directories[0] / "socket"), *map(str, directories))
    assert list(tmp_path.iterdir()) == []


def test_no_directory_is_left_if_the_launcher_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rank_pool.os, "access", lambda *_: False)  # no /dev/shm
    monkeypatch.setattr(rank_pool, "find_launcher", lambda: None)
    monkeypatch.setattr(rank_pool, "module_command", lambda *_: Command((str(tmp_path / "missing"),), {}))
    with pytest.raises(FileNotFoundError):
        rank_pool.RankPool("module", 2)
    assert list(tmp_path.iterdir()) == []
