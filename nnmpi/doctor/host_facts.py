"""What a host is and has, as far as its system tells."""

import contextlib
import os
import platform
import socket
import struct
from fcntl import ioctl
from pathlib import Path
from typing import Any

SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915  # of Linux; elsewhere they fail
UP_AND_RUNNING = 0x1 | 0x40
MEMORY = "/dev/shm"
# Bytes of it that MPI libraries want for all ranks of a host, and for each. With less Open MPI goes another, slower
# way, and MPICH dies; measured with 2, 4 and 8 ranks of Open MPI 5.0.11, MPICH 5.0.2 and Intel MPI 2021.18.
NEEDED = {"Open MPI": (17 << 20, 1 << 20), "MPICH": (10 << 20, 6 << 20), "Intel": (1 << 20, 1 << 20)}


def cpuinfo() -> dict[str, str]:
    """What ``/proc/cpuinfo`` says of the first CPU; nothing where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def processor() -> str:
    """The name of the processor; of ARM's the numbers of maker and part."""
    lines = cpuinfo()
    if "model name" in lines:
        return " ".join(lines["model name"].split())
    part = " ".join(f"{name[4:]} {lines[name]}" for name in ("CPU implementer", "CPU part") if name in lines)
    return f"{platform.machine()} {part}".strip()


def interfaces() -> list[dict[str, Any]]:
    """The network interfaces: name, IPv4 address or None, whether it is up, and Mbit/s or None."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            flags, address = 0, None
            with contextlib.suppress(OSError):
                flags = struct.unpack_from("H", ioctl(probe, SIOCGIFFLAGS, request), 16)[0]
                address = socket.inet_ntoa(ioctl(probe, SIOCGIFADDR, request)[20:24])
            up = flags & UP_AND_RUNNING == UP_AND_RUNNING
            found.append({"name": name, "address": address, "up": up, "mbit_per_second": _speed(name)})
    return found


def _speed(name: str) -> int | None:
    try:
        speed = int(Path(f"/sys/class/net/{name}/speed").read_text())
    except (OSError, ValueError):
        return None
    return speed if speed > 0 else None


def infiniband() -> list[str]:
    """The names of InfiniBand and RoCE adapters."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir("/sys/class/infiniband"))
    return []


def shared_memory(path: str = MEMORY) -> dict[str, int] | None:
    """Size and free bytes of the file system in which MPI libraries keep shared memory; None where there is none."""
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    return {"size": status.f_blocks * status.f_frsize, "free": status.f_bavail * status.f_frsize}


def needed_shm(library: str, ranks: int) -> int:
    """Bytes in `MEMORY` that so many ranks of an MPI library want on a host."""
    all_ranks, each = next((sizes for name, sizes in NEEDED.items() if library.startswith(name)), (0, 0))
    return all_ranks + each * ranks if ranks > 1 else 0


def memory() -> int:
    """The bytes of memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
