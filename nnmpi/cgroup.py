"""The limits of this process's cgroup, which containers and Slurm set: CPU quota and memory."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Quota:
    """A limit for all processes of a cgroup together: as much time as `cpus` CPUs have."""

    cpus: float
    cgroup: str


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
    limits = [int(text) for file in files if (text := read(file).strip()).isdigit()]
    return min((limit for limit in limits if limit < 1 << 60), default=None)  # version 1: a huge number is no limit


def _cgroups(root: Path, v1_controller: str = "cpu") -> list[Path]:
    """Return the directories of this process's cgroups, of version 2 and of `v1_controller`, and of all above them."""
    paths: dict[str, str] = {}  # controller -> path of the cgroup; "" stands for version 2
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    directories = []
    for line in read(root / "proc/self/mountinfo").splitlines():
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
    limit, _, period = read(cgroup / "cpu.max").partition(" ")
    return _ratio(limit, period or "100000")


def _version_1(cgroup: Path) -> float | None:
    return _ratio(read(cgroup / "cpu.cfs_quota_us"), read(cgroup / "cpu.cfs_period_us"))


def _ratio(limit: str, period: str) -> float | None:
    """Return `limit` / `period`; None if there is no limit ("max" or -1)."""
    numbers = limit.strip(), period.strip()
    return int(numbers[0]) / int(numbers[1]) if all(n.isdigit() and int(n) for n in numbers) else None


def read(path: Path) -> str:
    """Return the text of a file of the kernel; "" if there is none."""
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
