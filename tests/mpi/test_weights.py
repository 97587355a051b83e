"""Weights and metrics on several ranks: equal bits with ``--deterministic``, otherwise equal up to rounding."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import needed, program_path, read_metrics, run
from sklearn.datasets import load_digits

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

MANY = program_path("train_many.py")
CHANGING = {"seconds", "samples_per_second", "world_size"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Flags of trainings with weights, some of them zero, and with incomplete batches."""
    directory = tmp_path_factory.mktemp("data")
    x, y = load_digits(return_X_y=True)
    weights = np.random.default_rng(0).choice([0.0, 0.3, 1.0, 7.5], len(y))
    weights[:200] = 0
    np.savez(directory / "weighted.npz", X=x, y=y, sample_weight=weights)
    np.savez(directory / "numbers.npz", X=x[:, 1:], y=x[:, :1] + y[:, None] * 0.5, sample_weight=weights)
    labels = np.column_stack([y % 2 == 0, y > 6, x[:, 20] > 8, np.zeros(len(y), bool)])  # no sample has the last label
    np.savez(directory / "labels.npz", X=x, y=labels, sample_weight=weights)
    (directory / "classes.json").write_text('{"3": 0, "8": 2.5}')
    monitor = "--early-stopping", "2", "--monitor"
    flags = {
        "samples": ("--data", "weighted.npz", *monitor, "validation_roc_auc"),
        "classes": ("--data", "digits", "--class-weight", "classes.json", *monitor, "validation_f1_macro"),
        "both": ("--data", "weighted.npz", "--class-weight", "balanced", "--batch-size", "full"),
        "labels": ("--data", "labels.npz", *monitor, "validation_f1_macro"),
        "numbers": ("--data", "numbers.npz", "--task", "regression", *monitor, "validation_median_absolute_error"),
    }
    common = "--epochs", "3", "--batch-size", "50"
    paths = {name: str(directory / name) for name in ("weighted.npz", "numbers.npz", "labels.npz", "classes.json")}
    return {name: (*common, *(paths.get(word, word) for word in words)) for name, words in flags.items()}


def results(
    mpi: str, ranks: int, runs: dict[str, tuple[str, ...]], directory: Path, *common_flags: str
) -> dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]]:
    """Train each of `runs`; return the SHA-256 of its model, its metrics and all its scores."""
    commands = [["train", *flags, *common_flags, "--output", str(directory / name)] for name, flags in runs.items()]
    environment = needed(mpi)
    job = environment.mpiexec(ranks, environment.program("python"), MANY, json.dumps(commands))
    run(job, directory, timeout=240).succeeded()
    return {name: result(directory / name) for name in runs}


def result(directory: Path) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    metrics = [{k: v for k, v in m.items() if k not in CHANGING} for m in read_metrics(directory)]
    scores = json.loads((directory / "config.json").read_text())["scores"]
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest(), metrics, scores


@pytest.fixture(scope="module")
def alone(runs: dict[str, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return results("openmpi", 1, runs, tmp_path_factory.mktemp("alone"), "--deterministic")


@pytest.mark.parametrize(("mpi", "ranks"), [("openmpi", 2), ("mpich", 3)])
def test_same_bits_on_any_number_of_ranks(
    runs: dict[str, tuple[str, ...]], alone: Any, tmp_path: Path, mpi: str, ranks: int
) -> None:
    assert results(mpi, ranks, runs, tmp_path, "--deterministic") == alone


def test_native_reduction_differs_by_rounding_only(
    runs: dict[str, tuple[str, ...]], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, three = (
        results("openmpi", ranks, runs, tmp_path_factory.mktemp("native"), "--dtype", "float64") for ranks in (1, 3)
    )
    for name in runs:
        for metrics, metrics_on_three in zip(one[name][1], three[name][1], strict=True):
            assert metrics == pytest.approx(metrics_on_three, rel=1e-9), name
