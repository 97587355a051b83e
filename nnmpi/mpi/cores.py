"""The CPUs that this process may use: those of its affinity mask, no more than the quota of its cgroup."""

import os
from dataclasses import dataclass
from pathlib import Path

# what sets the number of threads of a BLAS, the more specific ones first
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Quota:
    """So many CPUs' time for all processes of a cgroup together."""

    cpus: float
    cgroup: str


def cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores_of(process: int) -> list[int]:
    """The cores that another process may run on; this one's where that cannot be known."""
    try:
        return sorted(os.sched_getaffinity(process))
    except (AttributeError, OSError):
        return cores()


def physical_core(cpu: int) -> str:
    """The core that a CPU is a hardware thread of: the same for all of them."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    names = [_read(topology / name).strip() for name in ("physical_package_id", "core_id")]
    return " ".join(names) if all(names) else str(cpu)


def available() -> int:
    """How many CPUs this process may use at the same time; part of a CPU counts only if it is the only one."""
    limit = quota()
    return min(len(cores()), max(1, int(limit.cpus))) if limit else len(cores())


def available_to_ranks() -> int:
    """How many CPUs the ranks of this host may use together: a launcher binds ranks to cores, but not itself."""
    limit = quota()
    count = len(cores_of(os.getppid()))
    return min(count, max(1, int(limit.cpus))) if limit else count


def shared() -> str:
    """The same for all processes of a host that share their CPUs."""
    limit = quota()
    return f"{cores()} {limit.cgroup if limit else ''}"


def preset_threads() -> tuple[str, int] | None:
    """The variable that sets the number of BLAS threads, and the number; None if none does."""
    for name in THREAD_VARIABLES:
        first = os.environ.get(name, "").split(",")[0].strip()  # OpenMP: one number for each level of nesting
        if first.isascii() and first.isdigit() and len(first) < 6 and int(first):
            return name, int(first)
    return None


def quota(root: Path = Path("/")) -> Quota | None:
    """The smallest CPU quota that applies to this process; None if there is none.

    It is read from cgroup v2's ``cpu.max``, or v1's ``cpu.cfs_quota_us``, of the process's cgroup and those above it.
    In a container only a part of them can be seen. `root` is where the file system begins, for tests.
    """
    found = [
        Quota(cpus, str(directory.relative_to(root)))
        for directory in _cgroups(root)
        if (cpus := _version_2(directory) or _version_1(directory))
    ]
    return min(found, key=lambda limit: limit.cpus, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """The smallest memory limit in bytes that applies to this process; None if there is none.

    It is read from cgroup v2's ``memory.max``, or v1's ``memory.limit_in_bytes``, as `quota`.
    """
    files = [cgroup / "memory.max" for cgroup in _cgroups(root)]
    files += [cgroup / "memory.limit_in_bytes" for cgroup in _cgroups(root, "memory")]
    limits = [int(text) for file in files if (text := _read(file).strip()).isdigit()]
    return min((limit for limit in limits if limit < 1 << 60), default=None)  # version 1 has no "max"


def _cgroups(root: Path, own: str = "cpu") -> list[Path]:
    """The directories of this process's cgroups of version 2 and of the controller `own`, with those above them."""
    paths: dict[str, str] = {}  # of each hierarchy, by its controllers; "" is that of version 2
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    directories = []
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mounted, place = before.split()[3:5]
        kind, *_, options = after.split()
        controller = {"cgroup2": "", "cgroup": own}.get(kind)
        if controller not in paths or (controller and controller not in options.split(",")):
            continue
        top = root / place.lstrip("/")
        # the mount may show a part of the hierarchy, and the path be of what lies outside of it
        inside = Path(paths[controller]).relative_to(mounted) if Path(paths[controller]).is_relative_to(mounted) else ""
        directory = top / inside
        directories += [d for d in (directory, *directory.parents) if d.is_relative_to(top) and ".." not in d.parts]
    return directories


def _version_2(cgroup: Path) -> float | None:
    limit, _, period = _read(cgroup / "cpu.max").partition(" ")
    return _ratio(limit, period or "100000")


def _version_1(cgroup: Path) -> float | None:
    return _ratio(_read(cgroup / "cpu.cfs_quota_us"), _read(cgroup / "cpu.cfs_period_us"))


def _ratio(limit: str, period: str) -> float | None:
    """`limit` / `period`; None where there is no limit, "max" or -1."""
    numbers = limit.strip(), period.strip()
    return int(numbers[0]) / int(numbers[1]) if all(n.isdigit() and int(n) for n in numbers) else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
