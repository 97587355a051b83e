"""A small process that ends the launcher after a job of which a host could not be reached at the end.

A launcher wants to hear from each host how its ranks ended, and waits for one that is cut off until the operating
system gives up the connection, a quarter of an hour or longer.
"""

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM, pidfd_send_signal

ALONE = 15.0  # seconds that the launcher has to end by itself, as it does if it can reach the host after all


def end_launcher(message: str, after: float = ALONE) -> bool:
    """See to it that the launcher that started this process ends; whether it is on this host, and one that may wait.

    If it has to be ended, the `message` is printed. Its exit status is then not 0.
    """
    launcher = _launcher()
    if not launcher:
        return False
    # in a session of its own, without our files: the launcher waits for all that hold them
    nowhere = subprocess.DEVNULL
    command = [sys.executable, "-I", "-S", __file__, str(launcher), str(after), message]
    subprocess.Popen(command, start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    return True


def _launcher() -> int:
    """Open MPI's launcher, our parent where it is on this host, or MPICH's, the parent of its proxy; else 0."""
    with contextlib.suppress(OSError):
        parent = os.getppid()
        if _name(parent).startswith(("prterun", "mpirun", "mpiexec", "orterun")):
            return parent
        above = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        if _name(parent) == "hydra_pmi_proxy" and _name(above).startswith(("mpiexec", "mpirun")):
            return above
    return 0


def _name(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()


def end(process: int, after: float, message: str) -> None:
    """End a process if it has not ended by itself after so many seconds, and print the `message`.

    A TERM makes the launcher end in good order, for which it would have to reach the hosts; further ones soon after
    that make it end at once. It leaves the ssh to a host that cannot be reached, which is ended with it.
    """
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(process)  # its number may be another process's by then
        if select.select([handle], [], [], after)[0]:
            return
        with contextlib.suppress(OSError), open(f"/proc/{process}/fd/2", "ab", buffering=0) as its_errors:
            its_errors.write(f"nnmpi: {message}\n".encode())
        below = [os.pidfd_open(child) for child in children(process)]
        for signal in (SIGTERM, SIGTERM, SIGTERM, SIGKILL):
            pidfd_send_signal(handle, signal)
            if select.select([handle], [], [], 2.0)[0]:
                break
        for child in below:
            with contextlib.suppress(OSError):  # it has ended
                pidfd_send_signal(child, SIGTERM)


def children(process: int) -> list[int]:
    """The processes that `process` has started and that run."""
    return [int(pid) for file in Path(f"/proc/{process}/task").glob("*/children") for pid in file.read_text().split()]


if __name__ == "__main__":
    end(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
