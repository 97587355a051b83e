"""The CPUs that this process may use: its affinity mask, and the CPU quota of its cgroup."""

import os
from pathlib import Path

from nnmpi.cgroup import quota, read

# environment variables that set the number of BLAS threads, the more specific ones first
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")


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
    names = [read(topology / name).strip() for name in ("physical_package_id", "core_id")]
    return " ".join(names) if all(names) else str(cpu)


def available() -> int:
    """Return the number of CPUs that this process may use at the same time."""
    return _within_quota(len(cores()))


def available_to_ranks() -> int:
    """Return the number of CPUs that the ranks of this host may use together, from the affinity of their launcher.

    A launcher binds ranks to cores, but not itself.
    """
    return _within_quota(len(cores_of(os.getppid())))


def _within_quota(count: int) -> int:
    """Return `count` CPUs, or as many as the quota allows; it is rounded down, but not to 0."""
    limit = quota()
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
