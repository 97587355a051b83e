"""Ranks below a Python process (``n_jobs``), without starting any; with real ranks: mpi/test_estimators_on_ranks.py."""

import dataclasses
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from nnmpi.launching.array_files import ArrayFiles
from nnmpi.mpi.checks import training_threads
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
        "arrays": ["y", "training", "parameters", "optimizer"] + ["x"] * ("x" in fit_below.SAMPLE_ARRAYS),
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
