"""Ends a rank when its launcher has died, by a thread in each rank.

Without it, Open MPI's ranks would compute, or wait for each other, for ever after a ``kill -9`` of mpirun.
"""

import contextlib
import os
import select
import shutil
import threading
import time
from pathlib import Path

from nnmpi.mpi.host import process


def end_with(launchers: list[int]) -> None:
    """Start a thread that ends this process at once, with status 1, when one of the `launchers` (process ids) dies."""
    if launchers:
        threading.Thread(target=_watch, args=(launchers,), name="launcher", daemon=True).start()


def _watch(launchers: list[int]) -> None:
    _wait_for_one(launchers)
    _remove_files(launchers)
    os._exit(1)  # without a message: nothing reads it any more


def _wait_for_one(processes: list[int]) -> None:
    """Return when one of the processes is dead, also if it is still a zombie."""
    try:
        poll = select.poll()
        for pid in processes:
            poll.register(os.pidfd_open(pid), select.POLLIN)
        poll.poll()
    except OSError:  # a process is dead already, or the system is too old or forbids this
        states = [process(pid) for pid in processes]
        started = [state and state[1] for state in states]
        while all((state := process(pid)) and state[1] == start for pid, start in zip(processes, started, strict=True)):
            time.sleep(1)


def _remove_files(launchers: list[int]) -> None:
    """Remove the files that are left over: this rank's shared memory and the launcher's directory."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            _, slash, name = line.partition(" /dev/shm/")
            if slash and not name.endswith(" (deleted)"):
                with contextlib.suppress(OSError):
                    os.unlink(f"/dev/shm/{name}")
    scratch = os.environ.get("PMIX_SERVER_TMPDIR", "")
    if scratch.endswith(tuple(f".{pid}" for pid in launchers)):  # it is named after the launcher's process id
        shutil.rmtree(scratch, ignore_errors=True)
