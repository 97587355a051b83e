"""Faults between hosts: with fault tolerance, survivors finish with the same bits as an undisturbed training."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hosts import Cluster, Host
from jobs import Job, Run, needed
from launched import ENDS, end_pause, importing, launch, pausing, wait_for_no_processes, wait_for_pause

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

FLAGS = ("--epochs", "3", "--deterministic", "--checkpoint-every", "20steps")
RINGS = ("--epochs", "3", "--hidden", "300,64", "--checkpoint-every", "20steps")  # large enough for rings
PAUSE = 70  # the update before which the fault happens: in the second epoch, between two checkpoints
VICTIM = 2  # the rank on the third host


def start(
    cluster: Cluster,
    directory: Path,
    *flags: str,
    output: str,
    library: str = "openmpi",
    train_flags: tuple[str, ...] = (),
    common_flags: tuple[str, ...] = FLAGS,
) -> Job:
    """Start a training on four hosts that pauses in a step."""
    command = (*flags, "--", "train", *common_flags, *train_flags, "--output", output)
    job = launch(cluster.hosts, 1, needed(library), directory, *command, **pausing(directory, PAUSE))
    try:
        wait_for_pause(directory, len(cluster.hosts))
    except BaseException as error:
        output_so_far = job.output()
        job.__exit__()
        raise AssertionError(f"not all ranks pause: {output_so_far}") from error
    return job


def kill(cluster: Cluster, host: Host) -> None:
    os.kill(host.rank_pid(VICTIM), signal.SIGKILL)


def stop(cluster: Cluster, host: Host) -> None:
    os.kill(host.rank_pid(VICTIM), signal.SIGSTOP)


FAULTS = [
    pytest.param(kill, id="killed"),
    pytest.param(stop, id="stopped"),
    pytest.param(Cluster.link_down, id="link down"),
    pytest.param(
        Cluster.drop_silently,
        id="silent link",
        marks=pytest.mark.more("the heartbeat detects it in the same way as a cut link"),
    ),
    pytest.param(
        Cluster.power_off,
        id="power off",
        marks=pytest.mark.more("the heartbeat detects it in the same way as a cut link"),
    ),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_survivors_on_other_hosts_end_with_the_same_bits(
    fault: Callable[[Cluster, Host], None], cluster: Cluster, train: Callable[..., Run], tmp_path: Path
) -> None:
    victim, reference = cluster.hosts[VICTIM], train(*FLAGS)
    output = f"/tmp/{tmp_path.name}"  # a different directory on every host
    with start(cluster, tmp_path, output=output) as job:
        fault(cluster, victim)
        end_pause(tmp_path)
        done = job.wait(ENDS).succeeded()
    run = Run(done, cluster.hosts[0].path(output))
    assert run.config["finished"] is True
    assert run.config["lost_ranks"] == [VICTIM]
    assert (run.directory / "model.safetensors").read_bytes() == (
        reference.directory / "model.safetensors"
    ).read_bytes()
    assert [m["step"] for m in run.metrics] == [m["step"] for m in reference.metrics]
    remaining = cluster.hosts if fault in (kill, stop) else [host for host in cluster.hosts if host is not victim]
    wait_for_no_processes(remaining)
    assert fault == Cluster.power_off or not victim.path(output).exists()


@pytest.mark.parametrize("fault", [FAULTS[0], FAULTS[2]])
def test_survivors_go_on_when_gradients_were_on_their_way(
    fault: Callable[[Cluster, Host], None], cluster: Cluster, train: Callable[..., Run], tmp_path: Path
) -> None:
    """A host is lost while the others exchange gradients: they finish close to an undisturbed run."""
    victim, reference = cluster.hosts[VICTIM], train(*RINGS)
    with start(cluster, tmp_path, output=f"/tmp/{tmp_path.name}", common_flags=RINGS) as job:
        fault(cluster, victim)
        end_pause(tmp_path)
        done = job.wait(ENDS).succeeded()
    run = Run(done, cluster.hosts[0].path(f"/tmp/{tmp_path.name}"))
    assert run.config["lost_ranks"] == [VICTIM]
    assert run.config["finished"] is True
    assert [m["step"] for m in run.metrics] == [m["step"] for m in reference.metrics]
    assert np.abs(run.parameters - reference.parameters).max() <= 1e-3 * np.abs(reference.parameters).max()
    remaining = [host for host in cluster.hosts if host is not victim or fault != Cluster.link_down]
    wait_for_no_processes(remaining)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_dies_while_mpi_starts_ends_the_job_on_all_hosts(
    rank: int, cluster: Cluster, tmp_path: Path
) -> None:
    """The others wait for it in MPI_Init, on hosts that do not see its death."""
    hosts, variables = cluster.hosts[:3], {**importing("die_at_start"), "DIES_AT_START": str(rank)}
    with launch(hosts, 1, needed("openmpi"), tmp_path, "--", "train", "iris", "--output", "run", **variables) as job:
        done = job.wait(ENDS)
    assert done.status == 1
    assert f"nnmpi: rank {rank} of 3 died while MPI started, the job cannot go on" in done.err
    wait_for_no_processes(hosts)


def test_a_rank_that_dies_before_mpi_starts_ends_the_job_on_all_hosts(cluster: Cluster, tmp_path: Path) -> None:
    """The rank dies while Python imports. It is not yet watched, so the others only have a time limit."""
    hosts, variables = cluster.hosts[:3], {**importing("die_at_start"), "DIES_EARLY": "2"}
    with launch(hosts, 1, needed("openmpi"), tmp_path, "--", "train", "iris", "--output", "run", **variables) as job:
        done = job.wait(ENDS)
    assert done.status == 1
    assert "nnmpi: MPI has not started after 8 s: a rank died before" in done.err
    wait_for_no_processes(hosts)


# A host without power sends nothing: without fault tolerance only the watchdog notices. The system of a crashed host
# closes its connections. Then Open MPI's launcher ends the job, even with fault tolerance.
WATCHED = ("--stall-timeout", "5")
LOSSES = [
    pytest.param(
        "mpich",
        Cluster.power_off,
        WATCHED,
        (),
        id="MPICH, power off",
        marks=pytest.mark.more("takes almost a minute; restarts as after a crash"),
    ),
    pytest.param("openmpi", Cluster.crash, (), (), id="Open MPI, crash"),
    pytest.param(
        "openmpi",
        Cluster.power_off,
        WATCHED,
        ("--no-fault-tolerance",),
        id="Open MPI, power off",
        marks=pytest.mark.more("takes a minute; detected as with MPICH, restarts as after a crash"),
    ),
]


@pytest.mark.parametrize(("library", "fault", "train_flags", "flags"), LOSSES)
def test_a_restart_goes_on_without_a_lost_host(
    library: str,
    fault: Callable[[Cluster, Host], None],
    train_flags: tuple[str, ...],
    flags: tuple[str, ...],
    cluster: Cluster,
    train: Callable[..., Run],
    tmp_path: Path,
) -> None:
    reference, victim = train(*FLAGS), cluster.hosts[VICTIM]
    with start(
        cluster, tmp_path, "--restarts", "2", *flags, library=library, train_flags=train_flags, output="run"
    ) as job:
        fault(cluster, victim)
        end_pause(tmp_path)
        done = Run(job.wait(ENDS).succeeded(), tmp_path / "run")
    assert "no answer from node3; restart 1 of 2" in done.done.err
    assert done.config["hosts"] == ["node1", "node2", "node4"]
    assert (done.directory / "model.safetensors").read_bytes() == (
        reference.directory / "model.safetensors"
    ).read_bytes()
    wait_for_no_processes([host for host in cluster.hosts if host is not victim])
