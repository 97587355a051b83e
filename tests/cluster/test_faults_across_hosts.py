"""Faults between hosts under fault tolerance: survivors end with the bits of an undisturbed training."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import Cluster, Host
from jobs import Job, Run, needed
from launched import ENDS, end_pause, launch, pausing, wait_for_no_processes, wait_for_pause

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

FLAGS = ("--epochs", "3", "--deterministic", "--checkpoint-every", "20steps")
PAUSE = 70  # the update before which something happens: in the second epoch, between two checkpoints
VICTIM = 2  # the rank on the third host


def start(cluster: Cluster, directory: Path, *flags: str, output: str, library: str = "openmpi") -> Job:
    """A training on four hosts that pauses in a step."""
    more = pausing(directory, PAUSE)
    job = launch(
        cluster.hosts, 1, needed(library), directory, *flags, "--", "train", *FLAGS, "--output", output, **more
    )
    wait_for_pause(directory, len(cluster.hosts))
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
    output = f"/tmp/{tmp_path.name}"  # another directory on every host
    with start(cluster, tmp_path, output=output) as job:
        fault(cluster, victim)
        end_pause(tmp_path)
        done = job.wait(ENDS).succeeded()
    run = Run(done, cluster.hosts[0].path(output))
    assert run.config["finished"] is True
    assert run.config["lost_ranks"] == [VICTIM]
    assert (run.directory / "model.safetensors").read_bytes() == (straight.directory / "model.safetensors").read_bytes()
    assert [m["step"] for m in run.metrics] == [m["step"] for m in straight.metrics]
    left = cluster.hosts if fault in (kill, stop) else [host for host in cluster.hosts if host is not victim]
    wait_for_no_processes(left)
    assert fault == Cluster.power_off or not victim.path(output).exists()


@pytest.mark.parametrize("library", ["openmpi", "mpich"])
def test_a_restart_goes_on_without_a_host_that_lost_power(
    library: str, cluster: Cluster, train: Callable[..., Run], tmp_path: Path
) -> None:
    flags = ("--restarts", "2", *(["--no-fault-tolerance"] * (library == "openmpi")))
    straight = train(*FLAGS)
    with start(cluster, tmp_path, *flags, library=library, output=str(tmp_path / "run")) as job:
        cluster.power_off(cluster.hosts[VICTIM])
        end_pause(tmp_path)
        done = Run(job.wait(ENDS).succeeded(), tmp_path / "run")
    assert "no answer from node3; restart 1 of 2" in done.done.err
    assert done.config["hosts"] == ["node1", "node2", "node4"]
    assert (done.directory / "model.safetensors").read_bytes() == (
        straight.directory / "model.safetensors"
    ).read_bytes()
    wait_for_no_processes([host for host in cluster.hosts if host is not cluster.hosts[VICTIM]])
