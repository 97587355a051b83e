"""The CPUs that this process may use: its affinity mask, and the CPU quota of its cgroup; also the memory limit."""

import os
from dataclasses import dataclass
from pathlib import Path

# environment variables that set the number of BLAS threads, the more specific ones first
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Quota:
    """A limit for all processes of a cgroup together: as much time as `cpus` CPUs have."""

    cpus: float
    cgroup: str


def cores() -> list[int]:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores_of(process: int) -> list[int]:
    """Return the cores that another process may run on; if they cannot be found out, the cores of this process."""
    try:
        return sorted(os.sched_getaffinity(process))
    except (AttributeError, OSError):
        return cores()


def physical_core(cpu: int) -> str:
    """Return the name of the physical core of a CPU; all hardware threads of a core have the same name."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    names = [_read(topology / name).strip() for name in ("physical_package_id", "core_id")]
    return " ".join(names) if all(names) else str(cpu)


def available() -> int:
    """Return the number of CPUs that this process may use at the same time; a quota is rounded down, but not to 0."""
    limit = quota()
    return min(len(cores()), max(1, int(limit.cpus))) if limit else len(cores())


def available_to_ranks() -> int:
    """Return the number of CPUs that the ranks of this host may use together, from the affinity of their launcher.

    A launcher binds ranks to cores, but not itself.
    """
    limit = quota()
    count = len(cores_of(os.getppid()))
    return min(count, max(1, int(limit.cpus))) if limit else count


def cpu_group() -> str:
    """Return a key that is the same for all processes of a host that share their CPUs."""
    limit = quota()
    return f"{cores()} {limit.cgroup if limit else ''}"


def preset_threads() -> tuple[str, int] | None:
    """Return the variable that sets the number of BLAS threads, and the number; None if no variable sets it."""
    for name in THREAD_VARIABLES:
        first = os.environ.get(name, "").split(",")[0].strip()  # OpenMP: one number for each level of nesting
        if first.isascii() and first.isdigit() and len(first) < 6 and int(first):
            return name, int(first)
    return None


def quota(root: Path = Path("/")) -> Quota | None:
    """Return the smallest CPU quota that applies to this process; None if there is none.

    It is read from cgroup v2's ``cpu.max``, or v1's ``cpu.cfs_quota_us``, of the process's cgroup and those above it.
    A container shows only some of these cgroups. `root` is the root directory, which tests replace.
    """
    quotas = [
        Quota(cpus, str(directory.relative_to(root)))
        for directory in _cgroups(root)
        if (cpus := _version_2(directory) or _version_1(directory))
    ]
    return min(quotas, key=lambda limit: limit.cpus, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the smallest memory limit in bytes that applies to this process; None if there is none.

    It is read from cgroup v2's ``memory.max``, or v1's ``memory.limit_in_bytes``, of the same cgroups as in `quota`.
    """
    files = [cgroup / "memory.max" for cgroup in _cgroups(root)]
    files += [cgroup / "memory.limit_in_bytes" for cgroup in _cgroups(root, "memory")]
    limits = [int(text) for file in files if (text := _read(file).strip()).isdigit()]
    return min((limit for limit in limits if limit < 1 << 60), default=None)  # version 1: a huge number is no limit


def _cgroups(root: Path, v1_controller: str = "cpu") -> list[Path]:
    """Return the directories of this process's cgroups, of version 2 and of `v1_controller`, and of all above them."""
    paths: dict[str, str] = {}  # controller -> path of the cgroup; "" stands for version 2
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    directories = []
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount_root, mount_point = before.split()[3:5]
        file_system, *_, options = after.split()
        controller = {"cgroup2": "", "cgroup": v1_controller}.get(file_system)
        if controller not in paths or (controller and controller not in options.split(",")):
            continue
        top = root / mount_point.lstrip("/")
        # the mount may show only a part of the hierarchy, without the cgroup of this process
        cgroup = Path(paths[controller])
        directory = top / (cgroup.relative_to(mount_root) if cgroup.is_relative_to(mount_root) else "")
        directories += [d for d in (directory, *directory.parents) if d.is_relative_to(top) and ".." not in d.parts]
    return directories


def _version_2(cgroup: Path) -> float | None:
    limit, _, period = _read(cgroup / "cpu.max").partition(" ")
    return _ratio(limit, period or "100000")


def _version_1(cgroup: Path) -> float | None:
    return _ratio(_read(cgroup / "cpu.cfs_quota_us"), _read(cgroup / "cpu.cfs_period_us"))


def _ratio(limit: str, period: str) -> float | None:
    """Return `limit` / `period`; None if there is no limit ("max" or -1)."""
    numbers = limit.strip(), period.strip()
    return int(numbers[0]) / int(numbers[1]) if all(n.isdigit() and int(n) for n in numbers) else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
