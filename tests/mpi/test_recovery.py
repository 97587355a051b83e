"""Ranks die and the others go on: under ``mpirun --with-ft ulfm`` a death costs the step in flight and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jobs import Done, Run, needed, program_path, run

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

DYING = program_path("train_with_deaths.py")
STEPS = 45  # of an epoch of digits
SAMPLES = 1437  # of its training part
FLAGS = ("--epochs", "3", "--hidden", "12", "--dropout", "0.1", "--checkpoint-every", "20steps")
EARLY = ("--early-stopping", "9")  # evaluates twice an epoch


def dying(plan: str, directory: Path, *flags: str, ranks: int = 4) -> Done:
    """A training on 4 ranks that go on without those that die as planned, see `train_with_deaths`."""
    mpi = needed("openmpi")
    job = [mpi.program("python"), DYING, plan, "train", *FLAGS, *flags, "--output", "run"]
    return run([mpi.program("mpiexec"), "--with-ft", "ulfm", "-n", str(ranks), *job], directory, timeout=120)


def survived(done: Done, directory: Path, left: int, straight: Run) -> None:
    """The run ended well on `left` ranks, with every sample of every epoch counted once and all told once."""
    done.succeeded()
    after = Run(done, directory / "run")
    assert [(m["epoch"], m["samples"], m["step"]) for m in after.metrics] == [
        (m["epoch"], m["samples"], m["step"]) for m in straight.metrics
    ]
    assert after.config["finished"] is True
    assert len(after.config["lost_ranks"]) == 4 - left
    assert done.out.splitlines().count(straight.last_line) <= 1
    assert "Traceback" not in done.err
    if left != 4:
        assert f"; training continues with {left} rank{'s' * (left > 1)}, in " in done.err


def same_bits(done: Done, directory: Path, left: int, straight: Run) -> None:
    survived(done, directory, left, straight)
    model = "model.safetensors"
    assert (directory / "run" / model).read_bytes() == (straight.directory / model).read_bytes()
    losses = [[m[k] for k in ("train_loss", "test_loss", "test_accuracy")] for m in straight.metrics]
    after = Run(done, directory / "run")
    assert [[m[k] for k in ("train_loss", "test_loss", "test_accuracy")] for m in after.metrics] == losses
    assert after.last_line == straight.last_line


# who dies where; the numbers of calls are chosen to be in the middle of things
PLANS = {
    "in the preparations": "prepare:1:2",
    "rank 0 before it writes": "output:1:0",
    "in a step": f"reduce:{STEPS + 20}:3",
    "while sums are made": f"sum:{3 * (STEPS + 20) - 1}:3",  # three additions a step
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
    straight = train(*FLAGS, "--deterministic")
    same_bits(dying(plan, tmp_path, "--deterministic"), tmp_path, 3, straight)


SEVERAL = {
    "two at once": (f"reduce:{STEPS + 5}:0,reduce:{STEPS + 5}:2", 2),
    "three at once": (f"update:{STEPS + 5}:1,update:{STEPS + 5}:2,update:{STEPS + 5}:3", 1),
    "one after the other": (f"reduce:30:0,reduce:{STEPS + 30}:1,reduce:{2 * STEPS + 30}:2", 1),
    "another before it shrinks": ("reduce:30:1,shrink:1:0", 2),
    "another before they agree": ("reduce:30:3,agree:1:0", 2),
    "another when the state is handed round": ("log:1:0,update:46:1,hand-round:1:2", 1),
    "another while it prepares to go on": ("reduce:30:3,prepare:2:2", 2),
}


@pytest.mark.parametrize(("plan", "left"), SEVERAL.values(), ids=SEVERAL)
def test_several_deaths(plan: str, left: int, train: Callable[..., Run], tmp_path: Path) -> None:
    straight = train(*FLAGS, "--deterministic")
    done = dying(plan, tmp_path, "--deterministic")
    if left == 1 and "hand-round" in plan and done.err.count("died;") < 3:
        left = 2  # nobody was behind, so that nothing had to be handed round
    same_bits(done, tmp_path, left, straight)


@pytest.mark.parametrize("hidden", ["12", "1000,12"], ids=["small", "large"])
def test_native_survivors_end_at_the_same_place(train: Callable[..., Run], tmp_path: Path, hidden: str) -> None:
    straight = train(*FLAGS, "--hidden", hidden)
    done = dying(f"reduce:{STEPS + 20}:0,update:{2 * STEPS + 3}:2", tmp_path, "--hidden", hidden)
    survived(done, tmp_path, 2, straight)
    after = Run(done, tmp_path / "run")
    assert np.abs(after.parameters - straight.parameters).max() <= 1e-5 * np.abs(straight.parameters).max()
    assert after.metrics[-1]["test_accuracy"] == straight.metrics[-1]["test_accuracy"]


def test_early_stopping_and_adam_survive(train: Callable[..., Run], tmp_path: Path) -> None:
    flags = (*EARLY, "--optimizer", "adam", "--learning-rate", "0.01", "--deterministic")
    straight = train(*FLAGS, *flags)
    same_bits(dying(f"reduce:{STEPS + 9}:0,evaluate:4:3", tmp_path, *flags), tmp_path, 2, straight)


def test_undisturbed_run_says_nothing_of_it(train: Callable[..., Run], tmp_path: Path) -> None:
    done = dying("reduce:0:0", tmp_path, "--deterministic")
    same_bits(done, tmp_path, 4, train(*FLAGS, "--deterministic"))
    assert "died" not in done.err


def test_resumed_run_survives(train: Callable[..., Run], tmp_path: Path) -> None:
    """A death after a resume, on rank 0: the log keeps the lines from before and gets the others once."""
    mpi = needed("openmpi")
    stopped = [mpi.program("python"), program_path("train_with_fault.py"), "9", str(STEPS + 20), "1"]
    train_flags = ("train", *FLAGS, "--deterministic", "--output", "run")
    assert run(mpi.mpiexec(2, *stopped, *train_flags), tmp_path).status != 0
    done = dying(f"reduce:{STEPS}:0", tmp_path, "--deterministic", "--resume")
    same_bits(done, tmp_path, 3, train(*FLAGS, "--deterministic"))


@pytest.mark.parametrize("rank", [0, 2])
def test_death_before_mpi_has_started_ends_the_job(rank: int, tmp_path: Path) -> None:
    done = dying(f"start:1:{rank}", tmp_path, ranks=3)
    assert done.status == 1
    assert f"nnmpi: rank {rank} of 3 died while MPI started" in done.err


def test_without_fault_tolerance_the_job_ends(tmp_path: Path) -> None:
    mpi = needed("openmpi")
    job = [mpi.program("python"), DYING, "reduce:50:1", "train", *FLAGS, "--output", "run"]
    done = run([mpi.program("mpiexec"), "-n", "3", *job], tmp_path)
    assert done.status != 0
    assert json.loads((tmp_path / "run/config.json").read_text())["finished"] is False
