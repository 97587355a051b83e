"""The reduction over several hosts, pretended on one machine: sums, trainings, deaths."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jobs import Environment, Run, needed, program_path, run

pytestmark = pytest.mark.mpi

RINGS, SHARED = "rings between hosts", "shared memory in each host, rings between hosts"
slow = pytest.mark.slow
HOSTS = ["0,1", *(pytest.param(p, marks=slow) for p in ("0,0,1", "0,1,2", "0,1,0,1", "0,1,1,2", "0,1,2,3", "1,0,0,0"))]
FLAGS = ("--hidden", "300,12", "--epochs", "3", "--batch-size", "50", "--dtype", "float64")


def name_of(hosts: str) -> str:
    return RINGS if len(set(hosts.split(","))) == len(hosts.split(",")) else SHARED


@pytest.mark.parametrize("hosts", HOSTS)
@pytest.mark.in_turn
def test_sums_are_right_and_the_same_on_all_ranks(mpi: Environment, hosts: str, tmp_path: Path) -> None:
    ranks = len(hosts.split(","))
    command = mpi.mpiexec(ranks, mpi.program("python"), program_path("add_up_over_hosts.py"))
    done = run(command, tmp_path, timeout=120, HOSTS_OF_RANKS=hosts).succeeded()
    assert "request" not in done.err  # MPICH prints a line for each persistent request that is not freed
    results = json.loads(done.out)
    name = name_of(hosts)
    assert results == ranks * [8 * [name, f"{name}, sent as fp16", f"{name}, sent as bf16"]]


def trained(mpi: Environment, hosts: str, directory: Path, *flags: str) -> Run:
    ranks = len(hosts.split(","))
    program = [mpi.program("python"), program_path("train_on_pretended_hosts.py")]
    command = mpi.mpiexec(ranks, *program, "train", *FLAGS, *flags, "--output", "run")
    return Run(run(command, directory, timeout=120, HOSTS_OF_RANKS=hosts).succeeded(), directory / "run")


def deviation(done: Run, reference: Run) -> float:
    return float(np.abs(done.parameters - reference.parameters).max() / np.abs(reference.parameters).max())


@pytest.mark.parametrize("hosts", [pytest.param(p, marks=slow) for p in ("0,0,1", "0,1", "0,1,0,1")])
@pytest.mark.in_turn
def test_a_training_over_hosts_agrees_with_one_rank(
    mpi: Environment, hosts: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    done, reference = trained(mpi, hosts, tmp_path), train(*FLAGS)
    assert done.config["reduction"] == name_of(hosts)
    assert name_of(hosts) in done.done.out.replace("\n          ", " ")
    assert deviation(done, reference) <= 1e-9
    assert [m["test_accuracy"] for m in done.metrics] == [m["test_accuracy"] for m in reference.metrics]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compress", "largest_deviation"),
    [("fp16", 1e-2), *(pytest.param(*c, marks=slow) for c in (("bf16", 1e-1), ("powersgd:2", 2.0)))],
)
def test_compressed_gradients_train_nearly_as_well(
    compress: str, largest_deviation: float, train: Callable[..., Run], tmp_path: Path
) -> None:
    done, reference = trained(needed("openmpi"), "0,1", tmp_path, "--compress", compress), train(*FLAGS)
    assert compress.partition(":")[0] in done.config["reduction"].lower()
    assert 1e-6 < deviation(done, reference) <= largest_deviation
    assert done.metrics[-1]["test_accuracy"] >= reference.metrics[-1]["test_accuracy"] - 0.02
    assert "note: --compress" not in done.done.err + done.done.out


@slow
def test_a_compressed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Checkpoints do not hold the state of PowerSGD: a resumed run trains as well, but not bit for bit."""
    mpi, flags = needed("openmpi"), ("--compress", "powersgd:2", "--checkpoint-every", "1epochs")
    trained(mpi, "0,1", tmp_path, *flags)
    resumed = trained(mpi, "0,1", tmp_path, *flags, "--epochs", "5", "--resume")
    assert [m["epoch"] for m in resumed.metrics] == [1, 2, 3, 4, 5]
    assert resumed.metrics[-1]["train_loss"] < resumed.metrics[2]["train_loss"]


@slow
@pytest.mark.parametrize("compress", ["fp16", "bf16"])
def test_on_one_host_nothing_is_sent_and_a_line_says_so(
    compress: str, train: Callable[..., Run], tmp_path: Path
) -> None:
    run, plain = (train(*FLAGS, *flags, mpi="openmpi", ranks=2) for flags in (("--compress", compress), ()))
    assert "all ranks are on one host, where no gradient is sent" in run.done.out + run.done.err
    assert run.config["reduction"] == "shared memory"
    assert run.parameters.tobytes() == plain.parameters.tobytes()


DYING = program_path("train_with_deaths.py")
DEATHS = {
    "when a layer is ready": ("ready:47:1", "0,1,2,3"),
    "while pieces are on their way": ("ring:210:2", "0,1,2,3"),
    "one of a host with two": ("ring:190:1", "0,0,1,1"),
    "rank 0": ("ring:150:0", "0,0,1,2"),
    "at the end of a step": ("reduce:30:3", "0,1,0,1"),
    "one that carries nothing": ("reduce:30:1", "0,0,1,2"),
    "two, one after the other": ("ring:130:3,ring:330:0", "0,1,1,2"),
}


FP16 = ("--compress", "fp16")
SAME_DEATHS = pytest.mark.more("the same deaths as in the tests without compression")


@slow
@pytest.mark.parametrize("compress", [(), pytest.param(FP16, marks=SAME_DEATHS)], ids=["exact", "fp16"])
@pytest.mark.parametrize("death", DEATHS)
def test_survivors_go_on(death: str, compress: tuple[str, ...], train: Callable[..., Run], tmp_path: Path) -> None:
    check_survivors(death, compress, train, tmp_path)


@slow
def test_survivors_go_on_with_compressed_gradients(train: Callable[..., Run], tmp_path: Path) -> None:
    check_survivors("while pieces are on their way", FP16, train, tmp_path)


def check_survivors(death: str, compress: tuple[str, ...], train: Callable[..., Run], tmp_path: Path) -> None:
    plan, hosts = DEATHS[death]
    mpi, deaths = needed("openmpi"), plan.count(",") + 1
    job = [mpi.program("python"), DYING, plan, "train", *FLAGS, *compress, "--output", "run"]
    command = [mpi.program("mpiexec"), "--with-ft", "ulfm", "-n", "4", *job]
    done = Run(run(command, tmp_path, timeout=120, HOSTS_OF_RANKS=hosts).succeeded(), tmp_path / "run")
    reference = train(*FLAGS)
    assert len(done.config["lost_ranks"]) == deaths
    assert [(m["epoch"], m["samples"], m["step"]) for m in done.metrics] == [
        (m["epoch"], m["samples"], m["step"]) for m in reference.metrics
    ]
    assert "Traceback" not in done.done.err
    assert deviation(done, reference) <= (1e-2 if compress else 1e-9)


@pytest.mark.slow
def test_refused_on_all_numbers_of_ranks_in_one_line(mpi: Environment, tmp_path: Path) -> None:
    for flags in (("--compress", "fp16", "--deterministic"), ("--compress", "int8")):
        done = run(mpi.nnmpi(2, "train", *flags), tmp_path)
        assert done.status == 2
        assert len(done.messages) == 1, done.err
        assert "--compress" in done.messages[0]
