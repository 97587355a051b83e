"""How many cores' time a container grants, in the files of both generations of control groups."""

from pathlib import Path

import pytest

from nnmpi.mpi import cores
from nnmpi.mpi.cores import cpu_quota

NO_LIMIT = 1 << 30


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {}, NO_LIMIT),
        ("0::/", {"cpu.max": "max 100000"}, NO_LIMIT),
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/not/in/this/container", {"cpu.max": "150000 100000"}, 1),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, NO_LIMIT),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, NO_LIMIT),
    ],
)
def test_quota(
    groups: str, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    own = tmp_path / "own"
    own.write_text(groups)
    monkeypatch.setattr(cores, "ROOT", tmp_path)
    monkeypatch.setattr(cores, "OWN_GROUPS", own)
    assert cpu_quota() == expected


def test_systems_without_control_groups_have_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "OWN_GROUPS", tmp_path / "none")
    assert cpu_quota() == NO_LIMIT


def test_some_cores_are_there() -> None:
    assert len(cores.cores()) >= 1
    assert 1 <= cores.host_cores() <= NO_LIMIT
