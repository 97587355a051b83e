"""Trainings that `nnmpi launch` starts on several hosts: the same bits as on one host, and minimal traffic."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import Cluster
from jobs import Environment, Run, needed
from launched import ENDS, launch, wait_for_no_processes

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

FLAGS = ("--epochs", "3", "--hidden", "32", "--dropout", "0.1", "--deterministic")
LARGE = ("--epochs", "1", "--hidden", "512,512", "--threads", "1")


ODD = pytest.param([1, 1, 1], marks=pytest.mark.more("[1, 1, 1, 1] and [2, 2] test the same"))
UNEVEN = pytest.param([3, 1, 2], marks=pytest.mark.more("the tree does not depend on hosts"))


@pytest.mark.parametrize("ranks", [[1, 1, 1, 1], [2, 2], ODD, UNEVEN], ids=str)
def test_several_hosts_train_to_the_bits_of_one(
    ranks: list[int], mpi: Environment, cluster: Cluster, train: Callable[..., Run], tmp_path: Path
) -> None:
    hosts = cluster.hosts[: len(ranks)]
    with launch(hosts, ranks, mpi, tmp_path, "--", "train", *FLAGS, "--output", "run") as job:
        done = Run(job.wait(ENDS).succeeded(), tmp_path / "run")
    reference = train(*FLAGS)
    assert (done.directory / "model.safetensors").read_bytes() == (
        reference.directory / "model.safetensors"
    ).read_bytes()
    assert done.last_line == reference.last_line
    assert done.config["world_size"] == sum(ranks)
    assert done.config["hosts"] == [host.name for host, n in zip(hosts, ranks, strict=True) for _ in range(n)]
    wait_for_no_processes(hosts)


RANKS = [
    [1, 1, 1, 1],
    [2, 2],
    [1, 3, 2],
    pytest.param([3, 3], marks=pytest.mark.more("[2, 2] and [1, 3, 2] test the same")),
]


def trained_and_traffic(
    ranks: list[int], mpi: Environment, cluster: Cluster, directory: Path, *flags: str
) -> tuple[Run, list[float]]:
    """Run a training; return it, and the bytes in and out of each host per step, as multiples of the gradient."""
    hosts = cluster.hosts[: len(ranks)]
    before = [host.traffic() for host in hosts]
    with launch(hosts, ranks, mpi, directory, "--", "train", *LARGE, *flags, "--output", "run") as job:
        done = Run(job.wait(ENDS).succeeded(), directory / "run")
    after = [host.traffic() for host in hosts]
    vectors = done.parameters.nbytes * done.metrics[-1]["step"]
    transferred = [new - old for a, b in zip(after, before, strict=True) for new, old in zip(a, b, strict=True)]
    return done, [number / vectors for number in transferred]


@pytest.mark.parametrize("ranks", RANKS, ids=str)
@pytest.mark.in_turn
def test_a_host_sends_and_receives_what_a_ring_over_the_hosts_needs(
    ranks: list[int], mpi: Environment, cluster: Cluster, tmp_path: Path
) -> None:
    done, traffic = trained_and_traffic(ranks, mpi, cluster, tmp_path)
    assert "rings between hosts" in done.config["reduction"]
    for share in traffic:
        assert share == pytest.approx(2 * (len(ranks) - 1) / len(ranks), rel=0.05)  # starting adds 0.1 to 1 %


@pytest.mark.parametrize(
    "ranks", [[2, 2], pytest.param([1, 1, 1, 1], marks=pytest.mark.more("same as [2, 2]"))], ids=str
)
def test_half_precision_halves_the_traffic(
    ranks: list[int], mpi: Environment, cluster: Cluster, tmp_path: Path
) -> None:
    done, traffic = trained_and_traffic(ranks, mpi, cluster, tmp_path, "--compress", "fp16")
    assert "sent as fp16" in done.config["reduction"]
    for share in traffic:
        assert share == pytest.approx((len(ranks) - 1) / len(ranks), rel=0.07)


def test_a_low_rank_takes_a_tenth_of_the_traffic(cluster: Cluster, tmp_path: Path) -> None:
    done, traffic = trained_and_traffic([1, 1, 1, 1], needed("openmpi"), cluster, tmp_path, "--compress", "powersgd:4")
    assert done.config["reduction"] == "PowerSGD of rank 4 for 3 of 3 layers"
    assert max(traffic) < 0.15


SHAPED = ("--hidden", "64", "--epochs", "2", "--deterministic")


@pytest.mark.parametrize("ranks", [[1], [2], [5], [8], [2, 1, 1], [1, 4, 2, 1]], ids=str)
@pytest.mark.more("test_worlds and the test above check most of it")
def test_bits_do_not_depend_on_hosts(
    ranks: list[int], mpi: Environment, cluster: Cluster, train: Callable[..., Run], tmp_path: Path
) -> None:
    hosts = cluster.hosts[: len(ranks)]
    with launch(hosts, ranks, mpi, tmp_path, "--", "train", *SHAPED, "--bucket-mb", "0", "--output", "run") as job:
        done = Run(job.wait(ENDS).succeeded(), tmp_path / "run")
    model = "model.safetensors"
    assert (done.directory / model).read_bytes() == (train(*SHAPED).directory / model).read_bytes()
