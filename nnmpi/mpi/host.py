"""What tells whether two processes share a host, a clock, a network, or a table of processes."""

import contextlib
import os
import socket
from pathlib import Path


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return socket.gethostname()


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{name}")
    except OSError:
        return ""


def kernel() -> str:
    """The same for two processes under one kernel: hosts with the same one are containers of one machine."""
    return _read("/proc/sys/kernel/random/boot_id")


def clock_of() -> str:
    """The same for two processes that share a monotonic clock."""
    return f"{kernel()} {_namespace('time')}"


def machine() -> str:
    """The same for two processes that can reach each other on 127.0.0.1 and see each other's process numbers."""
    return f"{socket.gethostname()} {clock_of()} {_namespace('net')} {_namespace('pid')}"


def process(pid: int) -> tuple[str, int] | None:
    """State (``R``, ``S``, ``T`` for stopped, …) and start time of a process; None if it is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else (fields[0], int(fields[19]))


def parents(pid: int) -> list[int]:
    """The processes above `pid`, the nearest first."""
    above: list[int] = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
        above.append(pid)
    return above


def children(pid: int) -> list[int]:
    """All processes below `pid`."""
    below: list[int] = []
    for threads in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, threads.read_text().split()):
                below += [child, *children(child)]
    return below


def process_name(pid: int) -> str:
    """The name of a process's program, its first 15 characters; "" where it cannot be known."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
