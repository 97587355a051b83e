"""Fixtures for the tests that need several hosts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm as slurm_daemons
from hosts import Cluster, why_not
from jobs import ROOT
from slurm import Slurm


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    shared = [ROOT, Path(sys.base_prefix), tmp_path_factory.getbasetemp()]
    with Cluster(tmp_path_factory.mktemp("cluster"), shared) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Iterator[Cluster]:
    """Four hosts with all links up. A test may break them; they are repaired after it."""
    yield running_cluster
    running_cluster.repair()


@pytest.fixture(scope="session")
def running_slurm(running_cluster: Cluster) -> Iterator[Slurm]:
    if reason := slurm_daemons.why_not():
        pytest.skip(reason)
    with Slurm(running_cluster) as slurm:
        yield slurm


@pytest.fixture
def slurm(cluster: Cluster, running_slurm: Slurm) -> Iterator[Slurm]:
    """Slurm with four idle nodes."""
    running_slurm.start()
    yield running_slurm
    running_slurm.clear()
