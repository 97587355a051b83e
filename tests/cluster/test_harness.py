"""The emulated hosts: separate, connected to each other only, and repaired after faults."""

import subprocess
import time
from itertools import pairwise

import pytest
from hosts import Cluster, Host, wait_for

pytestmark = pytest.mark.slow


def reaches(source: Host, target: Host) -> bool:
    command = ("ssh", "-o", "ConnectTimeout=1", target.name, "hostname")
    done = subprocess.run(source.command(*command), capture_output=True, text=True, timeout=30)
    return done.returncode == 0 and done.stdout.strip() == target.name


def test_hosts_reach_each_other_and_nothing_else(cluster: Cluster) -> None:
    assert all(reaches(a, b) for a, b in pairwise([*cluster.hosts, cluster.hosts[0]]))
    routes = cluster.hosts[0].run("ip", "route").splitlines()
    assert len(routes) == 1
    assert "10.77.0.0/24" in routes[0]


def test_a_host_has_its_own_temporary_files_memory_and_processes(cluster: Cluster) -> None:
    one, two = cluster.hosts[:2]
    for path in ("/tmp/mine", "/dev/shm/mine"):
        one.run("touch", path)
        assert path not in two.run("sh", "-c", "ls -d /tmp/* /dev/shm/* 2>/dev/null || true")
    assert int(one.run("sh", "-c", "ls -d /proc/[0-9]* | wc -l")) < 5
    assert two.run("cat", str(cluster.directory / "etc/hosts")) == (cluster.directory / "etc/hosts").read_text()


@pytest.mark.parametrize("fault", ["link_down", "drop_silently", "power_off"])
def test_a_fault_cuts_a_host_off_until_it_is_repaired(cluster: Cluster, fault: str) -> None:
    one, two = cluster.hosts[:2]
    getattr(cluster, fault)(two)
    assert not reaches(one, two)
    cluster.repair()
    wait_for(lambda: reaches(one, two))


@pytest.mark.more("for measuring by hand; no other test shapes links")
def test_a_shaped_link_is_as_slow_as_asked(cluster: Cluster) -> None:
    cluster.shape("8mbit")
    one, two = cluster.hosts[:2]
    before, started = two.traffic()[0], time.monotonic()
    one.run("sh", "-c", "head -c 2000000 /dev/zero | ssh node2 'cat > /dev/null'")
    assert time.monotonic() - started > 1.5
    assert 2.0e6 < two.traffic()[0] - before < 2.4e6
