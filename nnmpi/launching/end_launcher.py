"""A helper process that ends the launcher if the launcher does not end by itself.

At the end of a job, the launcher waits until each host reports how its ranks ended. If a host is cut off, it waits
until the operating system gives up the connection, which takes a quarter of an hour or longer.

The helper runs this file with ``python -I -S``, so nothing is imported here but the standard library.
"""

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM, pidfd_send_signal

GRACE = 15.0  # seconds for the launcher to end by itself, as it does if it can reach the host again


def end_launcher(message: str, after: float = GRACE) -> bool:
    """Start a helper process that ends the launcher of this process if it still runs after `after` seconds.

    Returns whether there is such a launcher on this host. If the helper has to end it, the helper prints `message`, and
    the exit status of the launcher is not 0.
    """
    launcher = _launcher()
    if not launcher:
        return False
    # in a session of its own, without our open files: the launcher waits for all processes that hold them
    null = subprocess.DEVNULL
    command = [sys.executable, "-I", "-S", __file__, str(launcher), str(after), message]
    subprocess.Popen(command, start_new_session=True, stdin=null, stdout=null, stderr=null)
    return True


def _launcher() -> int:
    """Return the process ID of our launcher on this host: the parent (Open MPI) or its parent (MPICH); else 0."""
    with contextlib.suppress(OSError):
        parent = os.getppid()
        if _name(parent).startswith(("prterun", "mpirun", "mpiexec", "orterun")):
            return parent
        grandparent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        if _name(parent) == "hydra_pmi_proxy" and _name(grandparent).startswith(("mpiexec", "mpirun")):
            return grandparent
    return 0


def _name(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()


def end(process: int, after: float, message: str) -> None:
    """Give a process `after` seconds to end by itself; then print `message` to its standard error and end it.

    On the first SIGTERM, the launcher tries to end in good order, for which it has to reach all hosts. Further SIGTERMs
    make it end at once. It leaves the ssh to the unreachable host running, so its child processes are ended, too.
    """
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(process)  # a process ID may be reused meanwhile, this handle not
        if select.select([handle], [], [], after)[0]:
            return
        with contextlib.suppress(OSError), open(f"/proc/{process}/fd/2", "ab", buffering=0) as stderr:
            stderr.write(f"nnmpi: {message}\n".encode())
        child_handles = []
        for child in _children(process):
            with contextlib.suppress(OSError):  # it has already ended
                child_handles.append(os.pidfd_open(child))
        for signal in (SIGTERM, SIGTERM, SIGTERM, SIGKILL):
            pidfd_send_signal(handle, signal)
            if select.select([handle], [], [], 2.0)[0]:
                break
        for child in child_handles:
            with contextlib.suppress(OSError):  # it has already ended
                pidfd_send_signal(child, SIGTERM)


def _children(process: int) -> list[int]:
    """Return the running processes that `process` has started itself."""
    pids: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has already ended
            pids += map(int, file.read_text().split())
    return pids


if __name__ == "__main__":
    end(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
