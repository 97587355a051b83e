"""Each rank updates a slice of all replicas: with the bits that all would have found by themselves."""

import hashlib
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from jobs import Environment, Run, needed, ranks_help, run

from nnmpi.nn.layers import WIDE
from nnmpi.reduction.divided import DIVIDED, LEAST
from nnmpi.reduction.helping import HELPED

pytestmark = pytest.mark.mpi

slow = pytest.mark.slow
DIVIDING, DISTURBED = (str(Path(__file__).with_name(name)) for name in ("dividing.py", "disturbed.py"))
TRAIN = ("train", "--batch-size", "50", "--threads", "1", "--checkpoint-every", "7steps")  # digits: 29 steps an epoch
LARGE = ("--hidden", "1000,1000")


def training(mpi: Environment, ranks: int, how: str, directory: Path, *flags: str) -> Run:
    """A run by `dividing`, or, with no `how`, by nnmpi itself."""
    directory.mkdir(exist_ok=True)
    program = [mpi.program("python"), DIVIDING, how] if how else [mpi.program("nnmpi")]
    command = mpi.mpiexec(ranks, *program, *TRAIN, *flags, "--output", "run")
    return Run(run(command, directory).succeeded(), directory / "run")


def contents(run: Run) -> dict[str, object]:
    """All that has to be the same: the model, the last checkpoint with the momentum, and the scores."""
    *_, last = sorted((run.directory / "checkpoints").glob("*.safetensors"))  # a slow disk may leave out others
    files = run.directory / "model.safetensors", last
    found: dict[str, object] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    names = ("epoch", "step", "samples", "learning_rate", "test_loss", "test_accuracy", "validation_loss")
    return found | {"metrics": [{name: m.get(name) for name in names} for m in run.metrics]}


@pytest.mark.parametrize(
    ("ranks", "how", "flags"),
    [
        (2, "", ()),
        pytest.param(3, "", ("--momentum", "0"), marks=slow),
        pytest.param(4, "", ("--no-nesterov", "--dtype", "float64"), marks=slow),
        pytest.param(3, ",numpy", (), marks=slow),
        pytest.param(2, ",numpy", ("--momentum", "0", "--dtype", "float64"), marks=slow),
        pytest.param(3, "", ("--dropout", "0.2", "--early-stopping", "2", "--lr-schedule", "cosine"), marks=slow),
        pytest.param(4, "", ("--data", "iris", "--hidden", "none", "--batch-size", "17"), marks=slow),  # 15 parameters
    ],
)
def test_slices_are_what_all_would_have_found(
    mpi: Environment, ranks: int, how: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    by_slices = training(mpi, ranks, f"slices{how}", tmp_path / "slices", "--epochs", "3", *flags)
    by_all = training(mpi, ranks, f"all{how}", tmp_path / "all", "--epochs", "3", *flags)
    assert by_slices.config["reduction"] == f"shared memory{DIVIDED}"
    assert by_all.config["reduction"] == "shared memory"
    assert contents(by_slices) == contents(by_all)
    losses = ([m["train_loss"] for m in r.metrics] for r in (by_slices, by_all))  # of ranks in another order
    np.testing.assert_allclose(*losses, 1e-6)


@ranks_help
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=slow)])
def test_the_same_where_ranks_help_each_other(ranks: int, tmp_path: Path) -> None:
    mpi, flags = needed("openmpi"), ("--epochs", "2", "--hidden", "3200")
    assert WIDE < 64 * 3200
    by_slices = training(mpi, ranks, "slices", tmp_path / "slices", *flags)
    by_all = training(mpi, ranks, "all", tmp_path / "all", *flags)
    assert by_slices.config["reduction"] == f"shared memory{DIVIDED}{HELPED}"
    assert by_all.config["reduction"] == f"shared memory{HELPED}"
    assert contents(by_slices) == contents(by_all)


@slow
@pytest.mark.parametrize("before", ["slices", "all"])
def test_resumed_on_as_many_ranks_it_ends_with_the_same_bits(mpi: Environment, before: str, tmp_path: Path) -> None:
    straight = training(mpi, 2, "slices", tmp_path / "straight", "--epochs", "4")
    training(mpi, 2, before, tmp_path / "halves", "--epochs", "2")
    resumed = training(mpi, 2, "slices", tmp_path / "halves", "--epochs", "4", "--resume")
    assert "starting from the beginning" not in resumed.done.err
    assert contents(resumed) == contents(straight)


@slow
@pytest.mark.parametrize("ranks", [1, 3])
def test_resumed_on_other_ranks_it_ends_at_the_same_place(ranks: int, tmp_path: Path) -> None:
    mpi, flags = needed("openmpi"), ("--dtype", "float64")
    straight = training(mpi, 2, "slices", tmp_path / "straight", "--epochs", "4", *flags)
    training(mpi, 2, "slices", tmp_path / "parts", "--epochs", "2", *flags)
    resumed = training(mpi, ranks, "slices", tmp_path / "parts", "--epochs", "4", "--resume", *flags)
    difference = np.abs(resumed.parameters - straight.parameters).max()
    assert difference <= 1e-9 * np.abs(straight.parameters).max()


@slow
def test_killed_in_the_middle_and_resumed_it_ends_with_the_same_bits(mpi: Environment, tmp_path: Path) -> None:
    straight = training(mpi, 2, "", tmp_path / "straight", "--epochs", "2", *LARGE)
    assert straight.parameters.size >= LEAST
    assert DIVIDED in straight.config["reduction"]
    killed = tmp_path / "killed"
    killed.mkdir()
    job = [mpi.program("python"), DISTURBED, str(int(signal.SIGKILL)), "40", "1"]
    done = run(mpi.mpiexec(2, *job, *TRAIN, "--epochs", "2", *LARGE, "--output", "run"), killed)
    assert done.status != 0
    resumed = training(mpi, 2, "", killed, "--epochs", "2", *LARGE, "--resume")
    assert "starting from the beginning" not in resumed.done.err
    assert contents(resumed) == contents(straight)


@slow
@pytest.mark.parametrize(
    ("where", "flags"),
    [([], ("--optimizer", "adam")), ([], ("--l2", "1e-4")), (["--with-ft", "ulfm"], ())],
    ids=["adam", "l2", "survivors go on"],
)
def test_elsewhere_all_update_all(where: list[str], flags: tuple[str, ...], tmp_path: Path) -> None:
    mpi = needed("openmpi")
    command = mpi.mpiexec(2, *where, mpi.program("nnmpi"), *TRAIN, "--epochs", "1", *LARGE, *flags, "--output", "run")
    run(command, tmp_path).succeeded()
    assert json.loads((tmp_path / "run/config.json").read_text())["reduction"] == "shared memory"
