"""Ranks that a Python process starts (``n_jobs``), without MPI. mpi/test_estimators_on_ranks.py has real ranks."""

import dataclasses
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nnmpi import MLPClassifier
from nnmpi.errors import RunError
from nnmpi.launching import rank_pool, rank_pools
from nnmpi.launching.array_files import ArrayFiles
from nnmpi.launching.mpiexec_command import Command
from nnmpi.mlp_parameters import settings_of
from nnmpi.mpi.checks import training_threads
from nnmpi.mpi.host import children, process
from nnmpi.nn.architecture import Architecture
from nnmpi.training import fit_below
from nnmpi.training.events import Requests
from nnmpi.training.fit_state import FitSettings


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
        "waits": False,
    }
    blas_threads: list[set[int]] = []
    monkeypatch.setattr(fit_below, "fit", lambda *_: blas_threads.append(threads()) or iter(()))
    own, other = socket.socketpair()
    with own, other, threadpool_limits(2, "blas"):
        fit_below.Rank(own, files)._fit(job, Requests(), SimpleNamespace(rank=1, size=2))
    assert blas_threads == [{1}]


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
    files.put("x", array)  # another array has replaced it
    assert files.get("x").tolist() == [1, 2, 3]
    files.clear()
    files.put("x", array)
    assert files.get("x").tolist() == [1, 2, 3]


def test_too_many_ranks_for_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_pools, "available", lambda: 2)
    monkeypatch.setattr(rank_pools, "RankPool", lambda module, ranks: pytest.fail("started"))
    with pytest.raises(ValueError, match=r"^n_jobs=17 is too many for the 2 cores .* at most 16 .* n_jobs=-1"):
        MLPClassifier(n_jobs=17).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.slow
def test_no_rank_outlives_its_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks do not connect, the launcher does not end them, and all of them ignore SIGTERM."""
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
    for _ in range(600):  # killed processes take a moment to disappear
        running = [pid for pid in started if process(pid)]
        if not running:
            return
        time.sleep(0.1)
    for pid in running:
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


def test_arrays_are_deleted_when_the_parent_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank may end as soon as it learns that there are no more jobs, so it deletes the arrays first."""
    parent, connection = socket.socketpair()
    arrays = ArrayFiles([tmp_path / "arrays"])
    (tmp_path / "arrays").mkdir()
    arrays.put("x", np.arange(3))
    rank = fit_below.Rank(connection, arrays)
    queued: list[bool] = []
    monkeypatch.setattr(rank._jobs, "put", lambda job: queued.append((tmp_path / "arrays").exists()))
    monkeypatch.setattr(fit_below, "END", 0)
    monkeypatch.setattr(fit_below.os, "_exit", lambda status: None)
    with connection:
        parent.close()
        rank.listen()
    assert queued == [False]


class Pool:
    """Counts itself, and takes a moment to start."""

    started = 0

    def __init__(self, module: str, ranks: int) -> None:
        Pool.started += 1
        self.closed = False
        self.arrays = ArrayFiles([])
        time.sleep(0.1)


@pytest.fixture
def no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_pools, "RankPool", Pool)
    monkeypatch.setattr(rank_pools, "_pools", {})
    monkeypatch.setattr(Pool, "started", 0)


def in_threads(function: Callable[[int], None], count: int) -> None:
    workers = [threading.Thread(target=function, args=(i,), daemon=True) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.usefixtures("no_ranks")
def test_threads_share_one_pool() -> None:
    def fit(thread: int) -> None:
        with rank_pools.rank_pool("module", 2):
            pass

    in_threads(fit, 3)
    assert Pool.started == 1


@pytest.mark.usefixtures("no_ranks")
def test_a_thread_that_waited_for_a_pool_that_failed_gets_another_one() -> None:
    taken: list[object] = []
    waiting = threading.Barrier(2, timeout=20)

    def fit(thread: int) -> None:
        if thread == 1:
            waiting.wait()
        with rank_pools.rank_pool("module", 2) as pool:
            taken.append(pool)
            if thread == 0:
                waiting.wait()
                time.sleep(0.3)
                pool.closed = True  # as `RankPool.close` does when a rank fails

    in_threads(fit, 2)
    assert Pool.started == len(set(taken)) == 2


@pytest.mark.usefixtures("no_ranks")
def test_a_fit_inside_a_fit_on_the_same_ranks_is_refused() -> None:
    with (
        rank_pools.rank_pool("module", 2),
        pytest.raises(RuntimeError, match="fit with n_jobs=1 here"),
        rank_pools.rank_pool("module", 2),
    ):
        pass
    with rank_pools.rank_pool("module", 2):
        pass


def test_settings_for_ranks_are_plain_numbers() -> None:
    numbers = {
        "max_iter": np.int64(3),
        "tol": np.float32(0),
        "n_iter_no_change": np.int64(5),
        "beta_1": np.float32(0.5),
    }
    estimator = MLPClassifier(**numbers, batch_size=np.int64(2), shuffle=np.bool_(False), alpha=np.float32(0))
    settings = dataclasses.asdict(settings_of(estimator, 10, False, 0))
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.usefixtures("no_ranks")
def test_a_number_of_ranks_may_be_one_of_numpy() -> None:
    with MLPClassifier(n_jobs=np.int64(2))._rank_pool() as pool:
        assert isinstance(pool, Pool)
