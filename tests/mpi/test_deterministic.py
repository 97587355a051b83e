"""``--deterministic``: the same bits on any number of ranks, with both MPIs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import needed, program_path, read_metrics, run

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

MANY = program_path("train_many.py")
EVERYTHING = ("--deterministic", "--epochs", "3", "--dropout", "0.2", "--early-stopping", "2")
RUNS = {
    f"{data}-{batch_size}": (*EVERYTHING, "--data", data, "--augment", augment, "--batch-size", str(batch_size))
    for data, augment in (("digits", "shift,rotate,noise"), ("breast_cancer", "noise"))
    for batch_size in (32, 50, 5000)
}
PLAIN = {"digits-50": ("--deterministic", "--epochs", "1", "--batch-size", "50")}
CHANGING = {"seconds", "samples_per_second", "world_size"}

Result = tuple[str, list[dict[str, Any]]]
Train = Callable[..., dict[str, Result]]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """``train(mpi, ranks, runs)``: the SHA-256 of the model and the metrics of each run. Equal calls run only once."""
    results: dict[tuple[Any, ...], dict[str, Result]] = {}

    def train(mpi: str, ranks: int, runs: dict[str, tuple[str, ...]], *mode: str) -> dict[str, Result]:
        key = (mpi, ranks, tuple(runs), mode)
        if key not in results:
            directory = tmp_path_factory.mktemp("runs")
            commands = [["train", *flags, "--output", str(directory / name)] for name, flags in runs.items()]
            environment = needed(mpi)
            job = [environment.program("python"), MANY, *mode, json.dumps(commands)]
            run(environment.mpiexec(ranks, *job), directory, timeout=240).succeeded()
            results[key] = {name: result(directory / name) for name in runs}
        return results[key]

    return train


def result(directory: Path) -> Result:
    metrics = [{k: v for k, v in m.items() if k not in CHANGING} for m in read_metrics(directory)]
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest(), metrics


more = pytest.mark.more("other numbers of ranks test the same")
OPEN_MPI = [("openmpi", 2), ("openmpi", 4), ("openmpi", 8), *(pytest.param("openmpi", n, marks=more) for n in (3, 5))]
MPICH = [("mpich", 3), ("mpich", 5), *(pytest.param("mpich", n, marks=more) for n in (1, 2, 4, 8))]


@pytest.mark.parametrize(("mpi", "ranks"), [*OPEN_MPI, *MPICH])
def test_same_bits_on_any_number_of_ranks(train: Train, mpi: str, ranks: int) -> None:
    assert train(mpi, ranks, RUNS) == train("openmpi", 1, RUNS)


@pytest.mark.parametrize(("mpi", "ranks"), [pytest.param("openmpi", 3, marks=more), ("mpich", 4)])
def test_same_bits_without_shared_memory(train: Train, mpi: str, ranks: int) -> None:
    assert train(mpi, ranks, RUNS, "messages") == train("openmpi", 1, RUNS)


def test_native_order_would_give_other_bits(train: Train) -> None:
    """With a plain Allreduce instead of the tree, the tests above would fail."""
    hashes = [train("openmpi", ranks, PLAIN, "plain")["digits-50"][0] for ranks in (2, 3, 4)]
    assert len({train("openmpi", 1, PLAIN)["digits-50"][0], *hashes}) > 1


@pytest.mark.parametrize(("mpi", "ranks"), [("openmpi", 2), pytest.param("mpich", 8, marks=more)])
def test_microbatches_of_one_sample(train: Train, mpi: str, ranks: int) -> None:
    """BLAS and NumPy use different code for one sample. It must not depend on the other samples of the rank."""
    flags = ("--deterministic", "--epochs", "2", "--batch-size", "8", "--shards", "8", "--data", "iris")
    runs = {name: (*flags, "--activation", name) for name in ("relu", "sigmoid", "tanh")}
    assert train(mpi, ranks, runs) == train("openmpi", 1, runs)


@pytest.mark.parametrize(("mpi", "ranks"), [("openmpi", 3), ("mpich", 4), pytest.param("openmpi", 2, marks=more)])
def test_batches_smaller_than_the_shards(train: Train, mpi: str, ranks: int) -> None:
    """In each step some ranks have no samples."""
    flags = (*EVERYTHING, "--data", "iris", "--augment", "noise", "--class-weight", "balanced", "--optimizer", "adam")
    runs = {size: (*flags, "--batch-size", size) for size in ("1", "2", "3", "7")}
    assert train(mpi, ranks, runs) == train("openmpi", 1, runs)


@pytest.mark.parametrize(("mpi", "ranks"), [pytest.param("openmpi", 2, marks=more), ("mpich", 3)])
def test_wide_layers(train: Train, mpi: str, ranks: int) -> None:
    runs = {"512-512": ("--deterministic", "--hidden", "512,512", "--dropout", "0.2", "--epochs", "1")}
    assert train(mpi, ranks, runs) == train("openmpi", 1, runs)


def test_shards_and_ranks_that_are_no_powers_of_two(train: Train) -> None:
    runs = {"wine": ("--deterministic", "--data", "wine", "--shards", "13", "--epochs", "3", "--dtype", "float64")}
    assert train("openmpi", 3, runs) == train("openmpi", 1, runs)
