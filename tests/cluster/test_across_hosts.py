"""Trainings over several hosts: the same bits as on one, through the network, with what `nnmpi launch` says."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import Cluster
from jobs import Environment, Run
from launched import ENDS, launch, wait_for_no_processes

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

FLAGS = ("--epochs", "3", "--hidden", "32", "--dropout", "0.1", "--deterministic")
LARGE = ("--epochs", "1", "--hidden", "512,512", "--threads", "1")


ODD = pytest.param(3, 1, marks=pytest.mark.more("two powers of two show the same"))


@pytest.mark.parametrize(("hosts", "ranks"), [(4, 1), (2, 2), ODD])
def test_several_hosts_train_to_the_bits_of_one(
    hosts: int, ranks: int, mpi: Environment, cluster: Cluster, train: Callable[..., Run], tmp_path: Path
) -> None:
    some = cluster.hosts[:hosts]
    with launch(some, ranks, mpi, tmp_path, "--", "train", *FLAGS, "--output", "run") as job:
        done = Run(job.wait(ENDS).succeeded(), tmp_path / "run")
    straight = train(*FLAGS)
    assert (done.directory / "model.safetensors").read_bytes() == (
        straight.directory / "model.safetensors"
    ).read_bytes()
    assert done.last_line == straight.last_line
    assert done.config["world_size"] == hosts * ranks
    assert done.config["hosts"] == [host.name for host in some for _ in range(ranks)]
    wait_for_no_processes(some)


@pytest.mark.parametrize(("hosts", "ranks"), [(4, 1), (2, 2)])
def test_a_host_sends_and_receives_what_a_ring_over_the_hosts_needs(
    hosts: int, ranks: int, mpi: Environment, cluster: Cluster, tmp_path: Path
) -> None:
    some = cluster.hosts[:hosts]
    before = [host.traffic() for host in some]
    with launch(some, ranks, mpi, tmp_path, "--", "train", *LARGE, "--output", "run") as job:
        done = Run(job.wait(ENDS).succeeded(), tmp_path / "run")
    ring = 2 * (hosts - 1) / hosts * done.parameters.nbytes * done.metrics[-1]["step"]
    for host, (received, sent) in zip(some, before, strict=True):
        for new, old in zip(host.traffic(), (received, sent), strict=True):
            assert new - old == pytest.approx(ring, rel=0.05)  # the start takes 0.1 to 1 %
