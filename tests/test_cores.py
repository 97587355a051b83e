"""The number of CPUs for a rank and for all ranks of a host, within the quota of a container."""

import os
from pathlib import Path

import pytest

from nnmpi.cgroup import Quota, quota
from nnmpi.mpi import cores
from nnmpi.mpi.cores import available, available_to_ranks

VERSION_2 = "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
VERSION_1 = "25 1 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct"
FILES_1 = ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "sys/fs/cgroup/cpu/a/cpu.cfs_period_us")


@pytest.mark.parametrize(
    ("groups", "mounted", "files", "expected"),
    [
        ("0::/", VERSION_2, {}, None),
        ("0::/", VERSION_2, {"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ("0::/", VERSION_2, {"sys/fs/cgroup/cpu.max": "250000 100000"}, 2.5),
        ("0::/a", VERSION_2, {"sys/fs/cgroup/a/cpu.max": "max", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3),
        ("0::/a", VERSION_2, {"sys/fs/cgroup/a/cpu.max": "50000 100000", "sys/fs/cgroup/cpu.max": "300000"}, 0.5),
        ("4:cpu,cpuacct:/a", VERSION_1, dict(zip(FILES_1, ("300000", "100000"), strict=True)), 3),
        ("4:cpu,cpuacct:/a", VERSION_1, dict(zip(FILES_1, ("-1", "100000"), strict=True)), None),
    ],
)
def test_quota(groups: str, mounted: str, files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    for name, text in (files | {"proc/self/cgroup": groups, "proc/self/mountinfo": mounted}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    limit = quota(tmp_path)
    assert (limit.cpus if limit else None) == expected


def test_ranks_that_their_launcher_binds_share_the_cores_of_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that is bound to one core has that core. All ranks of the host have the cores of the launcher."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0} if pid == 0 else {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cores, "quota", lambda: None)
    assert (available(), available_to_ranks()) == (1, 4)
    monkeypatch.setattr(cores, "quota", lambda: Quota(2.9, "a"))
    assert available_to_ranks() == 2
    monkeypatch.setattr(cores, "quota", lambda: Quota(0.5, "a"))
    assert available_to_ranks() == 1
