"""Facts about processes: whether two share a kernel, clock or machine, whether one is alive, its parents, its name.

The functions read ``/proc``.
"""

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
    """Return an id of the running kernel; hosts with the same id are containers on one machine."""
    return _read("/proc/sys/kernel/random/boot_id")


def clock_of() -> str:
    """Return an id of the monotonic clock; two processes with the same id share the clock."""
    return f"{kernel()} {_namespace('time')}"


def machine() -> str:
    """Return an id of the machine; processes with the same id share 127.0.0.1 and see each other's process ids."""
    return f"{socket.gethostname()} {clock_of()} {_namespace('net')} {_namespace('pid')}"


def process(pid: int) -> tuple[str, int] | None:
    """Return the state (``R``, ``S``, ``T`` for stopped, …) and the start time of a process; None if it is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name in front of it may contain any character
    return None if fields[0] in "ZX" else (fields[0], int(fields[19]))


def parents(pid: int) -> list[int]:
    """Return the parent of `pid`, the parent of that, and so on."""
    above: list[int] = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
        above.append(pid)
    return above


def children(pid: int) -> list[int]:
    """Return the children of `pid`, their children, and so on."""
    below: list[int] = []
    for threads in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, threads.read_text().split()):
                below += [child, *children(child)]
    return below


def process_name(pid: int) -> str:
    """Return the name of a process's program, its first 15 characters; "" if it is not known."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
