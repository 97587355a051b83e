"""Faults between hosts under fault tolerance: survivors end with the bits of an undisturbed training."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import Cluster, Host
from jobs import Job, Run, needed
from launched import ENDS, launch, wait_for_epochs, wait_for_no_processes

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

FLAGS = ("--epochs", "40", "--deterministic", "--checkpoint-every", "100steps")
VICTIM = 2  # the rank on the third host


def own_directory(directory: Path) -> str:
    """A directory for the results of a test that is not the same on any two hosts."""
    return f"/tmp/{directory.name}"


def start(cluster: Cluster, directory: Path, *flags: str) -> Job:
    """A training on four hosts, each with files of its own, that has begun."""
    output = own_directory(directory)
    job = launch(cluster.hosts, 1, needed("openmpi"), directory, *flags, "--", "train", *FLAGS, "--output", output)
    wait_for_epochs(job, cluster.hosts[0].path(output), 3)
    return job


def kill(cluster: Cluster, host: Host) -> None:
    os.kill(host.rank_pid(VICTIM), signal.SIGKILL)


def stop(cluster: Cluster, host: Host) -> None:
    os.kill(host.rank_pid(VICTIM), signal.SIGSTOP)


FAULTS = {
    "killed": kill,
    "stopped": stop,
    "link down": Cluster.link_down,
    "silent link": Cluster.drop_silently,
    "power off": Cluster.power_off,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_survivors_on_other_hosts_end_with_the_same_bits(
    fault: Callable[[Cluster, Host], None], cluster: Cluster, train: Callable[..., Run], tmp_path: Path
) -> None:
    victim, straight = cluster.hosts[VICTIM], train(*FLAGS)
    with start(cluster, tmp_path) as job:
        fault(cluster, victim)
        done = job.wait(ENDS).succeeded()
    run = Run(done, cluster.hosts[0].path(own_directory(tmp_path)))
    assert run.config["finished"] is True
    assert run.config["lost_ranks"] == [VICTIM]
    assert (run.directory / "model.safetensors").read_bytes() == (straight.directory / "model.safetensors").read_bytes()
    assert [m["step"] for m in run.metrics] == [m["step"] for m in straight.metrics]
    left = cluster.hosts if fault in (kill, stop) else [host for host in cluster.hosts if host is not victim]
    wait_for_no_processes(left)
    assert fault == Cluster.power_off or not victim.path(own_directory(tmp_path)).exists()
