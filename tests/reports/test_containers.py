# From OpenMathLib/OpenBLAS 6059 (quotas), open-mpi/ompi 4948 and hpc/charliecloud 128 (reading memory of other ranks).
"""Containers: CPU quotas, preset numbers of threads, no permission to read memory of other ranks, zombies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import CommandServer, needed, program_path, run

from nnmpi import cgroup
from nnmpi.mpi import cores
from nnmpi.mpi.host import process

V2, V1 = "cgroup2 cgroup2 rw", "cgroup cgroup rw,cpu,cpuacct"
MOUNTED_V2 = f"30 20 0:1 / /sys/fs/cgroup rw - {V2}\n"
QUOTAS = {
    "v2 in a container": ("0::/\n", MOUNTED_V2, {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "v2, of a cgroup above": (
        "0::/a/b/c\n",
        MOUNTED_V2,
        {"sys/fs/cgroup/a/cpu.max": "200000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"},
        2.0,
    ),
    "v2, the smallest counts": (
        "0::/a/b\n",
        MOUNTED_V2,
        {"sys/fs/cgroup/a/cpu.max": "100000 100000", "sys/fs/cgroup/a/b/cpu.max": "800000 100000"},
        1.0,
    ),
    "v2, no limit": ("0::/\n", MOUNTED_V2, {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "v1 of Docker: the path is the host's, the mount the container's": (
        "4:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n",
        f"30 20 0:1 /docker/1f /sys/fs/cgroup/cpu,cpuacct ro - {V1}\n",
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        0.5,
    ),
    "v1 without a namespace": (
        "4:cpu,cpuacct:/kube/pod\n",
        f"30 20 0:1 /other /cg rw - {V1}\n",
        {"cg/cpu.cfs_quota_us": "300000\n", "cg/cpu.cfs_period_us": "100000\n"},
        3.0,
    ),
    "v1, no limit": (
        "4:cpu:/\n",
        f"30 20 0:1 / /cg rw - {V1}\n",
        {"cg/cpu.cfs_quota_us": "-1\n", "cg/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "both versions mounted": (
        "1:cpu:/x\n0::/\n",
        f"30 20 0:1 / /cg rw - {V1}\n31 20 0:2 / /unified rw - {V2}\n",
        {"cg/x/cpu.cfs_quota_us": "100000\n", "cg/x/cpu.cfs_period_us": "50000\n"},
        2.0,
    ),
    "a path outside of what is mounted": ("0::/../../x\n", MOUNTED_V2, {"sys/fs/cgroup/cpu.max": "70000 100000"}, 0.7),
    "no cgroups": ("", "", {}, None),
    "nonsense": ("0::/\n", MOUNTED_V2, {"sys/fs/cgroup/cpu.max": "many 0\n"}, None),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_quota(case: str, tmp_path: Path) -> None:
    group, mounts, files, cpus = QUOTAS[case]
    for name, text in {"proc/self/cgroup": group, "proc/self/mountinfo": mounts, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    limit = cgroup.quota(tmp_path)
    assert (limit and limit.cpus) == cpus


MEMORY = {
    "v2": (
        "0::/a/b\n",
        MOUNTED_V2,
        {"sys/fs/cgroup/a/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.max": "max"},
        1000,
    ),
    "v2, no limit": ("0::/\n", MOUNTED_V2, {"sys/fs/cgroup/memory.max": "max\n"}, None),
    "v1": (
        "4:cpu:/x\n5:memory:/pod\n",
        "30 20 0:1 / /cg rw - cgroup cgroup rw,memory\n",
        {"cg/pod/memory.limit_in_bytes": "5000\n", "cg/memory.limit_in_bytes": "9223372036854771712\n"},
        5000,
    ),
    "v1, no limit": (
        "5:memory:/\n",
        "30 20 0:1 / /cg rw - cgroup cgroup rw,memory\n",
        {"cg/memory.limit_in_bytes": "9223372036854771712\n"},
        None,
    ),
}


@pytest.mark.parametrize("case", MEMORY)
def test_memory_limit(case: str, tmp_path: Path) -> None:
    group, mounts, files, limit = MEMORY[case]
    for name, text in {"proc/self/cgroup": group, "proc/self/mountinfo": mounts, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cgroup.memory_limit(tmp_path) == limit


@pytest.mark.parametrize(("cpus", "count"), [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (99.0, 4)])
def test_what_is_available(cpus: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(cores, "quota", lambda: cgroup.Quota(cpus, "x"))
    assert cores.available() == count


PRESET = {
    "OMP_NUM_THREADS": ({"OMP_NUM_THREADS": "1"}, 1),
    "of each level": ({"OMP_NUM_THREADS": "3,2"}, 3),
    "OpenBLAS's before OpenMP's": ({"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, 2),
    "MKL's": ({"MKL_NUM_THREADS": "1"}, 1),
}


@pytest.mark.parametrize("case", PRESET)
def test_preset_threads_are_followed_and_named(nnmpi: CommandServer, case: str, tmp_path: Path) -> None:
    variables, threads = PRESET[case]
    text = nnmpi("info", cwd=tmp_path, COLUMNS="200", **variables).out  # the status is 1 if there are fewer cores
    (name, value), *_ = variables.items()
    assert f"{threads} a rank ({name}={value.partition(',')[0]}" in text


@pytest.mark.parametrize("value", ["", "0", "-1", "x", "²"])
def test_what_is_no_number_of_threads_is_ignored(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cores.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert cores.preset_threads() is None


DENY = program_path("deny_system_calls.py")


@pytest.mark.mpi
@pytest.mark.parametrize("library", ["openmpi", "mpich"])
@pytest.mark.parametrize("calls", ["process_vm_readv,process_vm_writev", "pidfd_open", "memfd_create,process_vm_readv"])
def test_system_calls_that_a_container_refuses(library: str, calls: str, tmp_path: Path) -> None:
    mpi = needed(library)
    words = ("train", "--data", "random:500x300x10", "--epochs", "1", "--bucket-mb", "0", "--output", "run")
    run([sys.executable, str(DENY), calls, *mpi.nnmpi(3, *words)], tmp_path, timeout=120).succeeded()


def test_a_zombie_is_dead() -> None:
    """If the first process of a container does not reap zombies, they remain for ever."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{child.pid}").exists()
    assert process(child.pid) is None
    child.wait()
