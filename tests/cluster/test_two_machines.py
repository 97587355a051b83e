"""docs/how-to/two-machines.md, followed word for word on two hosts."""

import json
import re
from pathlib import Path

import pytest
from hosts import SHARED_CORES, Cluster
from jobs import ROOT, Job, needed
from launched import ENDS, OPEN_MPI_VARIABLES

PAGE = ROOT / "docs/how-to/two-machines.md"
STEPS = re.findall(
    r"<!-- not run: tests/cluster/test_two_machines.py .+? -->\n```shell\n(.*?)```", PAGE.read_text(), re.S
)


@pytest.mark.mpi
@pytest.mark.slow
def test_a_newcomer_trains_on_two_machines(cluster: Cluster, tmp_path: Path) -> None:
    plain = [f"--unset={name}" for name in OPEN_MPI_VARIABLES]  # a newcomer has none of what other tests set
    path = f"PATH={needed('openmpi').directory / 'bin'}:/usr/bin:/bin"
    said = []
    for step in STEPS:
        command = cluster.hosts[0].command("env", *plain, path, "bash", "-euo", "pipefail", "-c", step, cwd=tmp_path)
        with Job(command, tmp_path, **SHARED_CORES) as job:
            said.append(job.wait(ENDS).succeeded().out)
    ssh, info, training = said
    assert ssh.split() == ["node2"]
    assert all(f"{host} (1 rank" in info for host in ("node1", "node2"))
    assert training.splitlines()[-1].startswith("test accuracy 0.9")
    assert json.loads((tmp_path / "runs/digits/config.json").read_text())["hosts"] == ["node1", "node2"]
