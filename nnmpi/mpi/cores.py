"""How many cores the ranks of a host have, with what a container grants."""

import math
import os
from pathlib import Path

ROOT, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def host_cores() -> int:
    """How many cores the ranks of this host have together, as far as one of them knows: those of its launcher.

    A launcher binds ranks to cores, and itself to none.
    """
    try:
        count = len(os.sched_getaffinity(os.getppid()))
    except (AttributeError, OSError):
        count = os.cpu_count() or 1
    return min(count, cpu_quota())


def cpu_quota() -> int:
    """How many cores' time the control groups of this process grant; at least 1, and very many without a limit."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return 1 << 30
    limits = [math.inf]
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            limits += _limits(ROOT, path, "cpu.max")
        elif "cpu" in controllers.split(","):
            limits += _limits(ROOT / "cpu", path, "cpu.cfs_quota_us")
    least = min(limits)
    return 1 << 30 if least == math.inf else max(1, math.floor(least))


def _limits(root: Path, path: str, name: str) -> list[float]:
    """The limits of the group `path` and of all groups above it. A container sees its own group as the root."""
    inside = root / path.lstrip("/")
    found = []
    for group in (inside, *inside.parents):
        try:
            words = (group / name).read_text().split()
            if name == "cpu.cfs_quota_us":
                words += (group / "cpu.cfs_period_us").read_text().split()
            quota, period = float(words[0]), float(words[1])  # "max" is no number
        except (OSError, ValueError, IndexError):
            quota = period = 0
        if quota > 0 < period:
            found.append(quota / period)
        if group == root:
            break
    return found
