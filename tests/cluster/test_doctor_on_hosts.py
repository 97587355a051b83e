"""`nnmpi info` on several hosts finds unreachable hosts, directories that are not shared, and differences."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hosts import Cluster, Host
from jobs import ROOT, Done, Environment, needed
from launched import ENDS, launch, wait_for_no_processes

pytestmark = [pytest.mark.mpi, pytest.mark.slow]


def examine(hosts: list[Host], mpi: Environment, directory: Path, *flags: str) -> tuple[Done, dict[str, Any]]:
    """Run ``nnmpi info`` with one rank on each of `hosts`; return the result and the JSON object that it printed."""
    with launch(hosts, 1, mpi, directory, "--", "info", "--json", *flags) as job:
        done = job.wait(ENDS)
    (line,) = done.out.splitlines()
    return done, json.loads(line)


def findings(data: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["what"] for finding in data["findings"]}


@contextmanager
def mounted(host: Host, source: Path, target: str) -> Iterator[None]:
    """Within the context, `host` sees the file `source` instead of `target`."""
    host.run("mount", "--bind", str(source), target)
    try:
        yield
    finally:
        host.run("umount", target)


def test_a_directory_and_a_processor_of_its_own(mpi: Environment, cluster: Cluster, tmp_path: Path) -> None:
    first_host, second_host = cluster.hosts[:2]
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    other = tmp_path / "cpuinfo"
    other.write_text("".join(f"{'model name : Other' if ln.startswith('model name') else ln}\n" for ln in lines))
    with mounted(second_host, other, "/proc/cpuinfo"):
        done, data = examine([first_host, second_host], mpi, tmp_path, "--output", "/tmp/results/run")
    assert "Other on node2" in findings(data)["processors_differ"]
    assert "/tmp/results/run on node1 is not seen by node2" in findings(data)["output_not_shared"]
    assert "versions_differ" not in findings(data)
    assert done.status == 1
    assert not list(first_host.path("/tmp").glob("**/.nnmpi-info-*"))
    first, second = data["hosts"]
    assert [host["host"] for host in data["hosts"]] == ["node1", "node2"]
    assert any(interface["address"] == second_host.address for interface in second["interfaces"])
    assert first["clock"]["round_trip_seconds"] == 0 < second["clock"]["round_trip_seconds"] < 10
    assert len(data["reduction"]["times"]) == 3
    wait_for_no_processes([first_host, second_host])


def test_other_source_files_on_a_host(cluster: Cluster, tmp_path: Path) -> None:
    first_host, second_host = cluster.hosts[:2]
    target = ROOT / "nnmpi/nn/layers.py"
    changed = tmp_path / "layers.py"
    changed.write_text(f"{target.read_text()}# another comment\n")
    with mounted(second_host, changed, str(target)):
        done, data = examine([first_host, second_host], needed("openmpi"), tmp_path)
    assert "source files of nnmpi" in findings(data)["versions_differ"]
    assert "on node2" in findings(data)["versions_differ"]
    assert "output_not_shared" not in findings(data)
    assert done.status == 1


def test_hosts_that_cannot_be_used_are_named_before_the_launcher_starts(cluster: Cluster, tmp_path: Path) -> None:
    first_host, changed_host, silent_host = cluster.hosts[:3]
    target = ROOT / "nnmpi/__init__.py"
    changed = tmp_path / "__init__.py"
    changed.write_text(target.read_text().replace('__version__ = "', '__version__ = "9.'))
    cluster.drop_silently(silent_host)
    unknown_host = Host("node9", "", "")
    with mounted(changed_host, changed, str(target)):
        done, data = examine([first_host, changed_host, silent_host, unknown_host], needed("openmpi"), tmp_path)
    texts = [finding["what"] for finding in data["findings"]]
    assert {finding["check"] for finding in data["findings"]} == {"host_not_reached"}
    assert [text.split(":")[0] for text in texts] == [
        f"no rank can be started on {n}" for n in ("node2", "node3", "node9")
    ]
    assert "nnmpi there is 9." in texts[0]
    assert any(words in texts[1] for words in ("timed out", "No route to host")), texts[1]
    assert "resolve" in texts[2]
    assert done.status == 1
