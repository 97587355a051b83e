"""Facts of a host, as far as its operating system tells them."""

import contextlib
import os
import platform
import socket
import struct
from fcntl import ioctl
from pathlib import Path
from typing import Any

SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915  # of Linux; on other systems they fail
UP_AND_RUNNING = 0x1 | 0x40
MEMORY = "/dev/shm"
# Bytes of `MEMORY` that MPI libraries need for all ranks of a host together, and for each rank. With less, Open MPI
# sends messages more slowly, and MPICH dies. Measured with 2, 4 and 8 ranks of Open MPI 5.0.11, MPICH 5.0.2 and Intel
# MPI 2021.18.
NEEDED = {"Open MPI": (17 << 20, 1 << 20), "MPICH": (10 << 20, 6 << 20), "Intel": (1 << 20, 1 << 20)}


def cpuinfo() -> dict[str, str]:
    """Return the entries of ``/proc/cpuinfo`` for the first CPU; {} if there is no such file."""
    try:
        first_cpu = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first_cpu.splitlines())}


def processor() -> str:
    """Return the name of the processor; on ARM, the numbers of implementer and part."""
    lines = cpuinfo()
    if "model name" in lines:
        return " ".join(lines["model name"].split())
    part = " ".join(f"{name[4:]} {lines[name]}" for name in ("CPU implementer", "CPU part") if name in lines)
    return f"{platform.machine()} {part}".strip()


def interfaces() -> list[dict[str, Any]]:
    """Return the network interfaces: name, IPv4 address or None, whether it is up, and Mbit/s or None."""
    rows = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            flags, address = 0, None
            with contextlib.suppress(OSError):
                flags = struct.unpack_from("H", ioctl(probe, SIOCGIFFLAGS, request), 16)[0]
                address = socket.inet_ntoa(ioctl(probe, SIOCGIFADDR, request)[20:24])
            up = flags & UP_AND_RUNNING == UP_AND_RUNNING
            rows.append({"name": name, "address": address, "up": up, "mbit_per_second": _speed(name)})
    return rows


def _speed(name: str) -> int | None:
    try:
        speed = int(Path(f"/sys/class/net/{name}/speed").read_text())
    except (OSError, ValueError):
        return None
    return speed if speed > 0 else None


def infiniband() -> list[str]:
    """Return the names of the InfiniBand and RoCE adapters."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir("/sys/class/infiniband"))
    return []


def shared_memory() -> dict[str, int] | None:
    """Return the size and the free bytes of the file system for MPI's shared memory; None if there is none."""
    try:
        status = os.statvfs(MEMORY)
    except OSError:
        return None
    return {"size": status.f_blocks * status.f_frsize, "free": status.f_bavail * status.f_frsize}


def needed_shm(library: str, ranks: int) -> int:
    """Return the bytes of `MEMORY` that an MPI library needs for `ranks` ranks on a host."""
    all_ranks, per_rank = next((sizes for name, sizes in NEEDED.items() if library.startswith(name)), (0, 0))
    return all_ranks + per_rank * ranks if ranks > 1 else 0
