"""A guard while MPI starts under ULFM: MPI does not notice a rank that dies then, and the others would wait for it.

A child process of each rank watches, and ends the job if a rank dies. A rank that died earlier, while Python imported,
cannot be seen from other hosts: there the job ends when MPI has not started after `LONGEST` seconds.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nnmpi.mpi.host import process

STARTED = b"1"
DIED = "died while MPI started, the job cannot go on"
LONGEST = 300.0  # seconds for MPI to start, from when the first rank asks for it until the last one has come
GRACE = 2.0  # seconds for MPI to finish its start after a death: perhaps it no longer needs the dead rank


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """End the job if a rank on this host dies inside the context, in which MPI starts.

    A child process watches, because no Python code runs in this process until MPI has started. If this process dies,
    the child lives on for a moment to end the job: ranks on other hosts do not see the death, and would wait for ever.
    """
    launcher = os.getppid()
    started, write_end = os.pipe()
    guard = os.fork()
    if guard == 0:
        try:
            os.close(write_end)
            _guard(started, launcher)
        finally:
            os._exit(0)
    os.close(started)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the guard has ended the job already
            os.write(write_end, STARTED)
        os.close(write_end)
        os.waitpid(guard, 0)


def _guard(started: int, launcher: int) -> None:
    """Watch the launcher's children until MPI has `started`. If that pipe is closed without a byte, this rank died."""
    size, local_size, rank = (int(os.environ[f"OMPI_COMM_WORLD_{name}"]) for name in ("SIZE", "LOCAL_SIZE", "RANK"))
    noticed, launcher_start, deadline = None, _start_time(launcher), time.monotonic() + LONGEST
    while not select.select([started], [], [], 0.2)[0]:
        alive = _ranks(launcher)
        if time.monotonic() > deadline and rank == min(alive, default=rank):
            _end(
                launcher,
                f"MPI has not started after {LONGEST:.0f} s: a rank died before, or hosts cannot reach each other (see "
                "nnmpi info); the job cannot go on",
            )
            return
        # either another process is between the launcher and this rank, or all ranks of this host are alive
        if rank not in alive or len(alive) >= local_size:
            noticed = None
            continue
        noticed = noticed or time.monotonic()
        if time.monotonic() - noticed > GRACE and rank == min(alive):
            dead = [str(r) for r in range(size) if r not in alive] if local_size == size else []
            name = f"rank{'s' * (len(dead) > 1)} {', '.join(dead)} of {size}" if dead else "a rank on this host"
            _end(launcher, f"{name} {DIED}")
            return
    if os.read(started, 1) == STARTED or local_size == size:
        return
    time.sleep(GRACE)
    # If the launcher has ended meanwhile, so has the job. If other ranks of this host are left, their guards end it.
    if launcher_start and _start_time(launcher) == launcher_start and not _ranks(launcher):
        _end(launcher, f"rank {rank} of {size} {DIED}")


def _start_time(pid: int) -> int | None:
    """Return when a process started; a later process with the same id has another time. None if it has ended."""
    state = process(pid)
    return state[1] if state else None


def _end(launcher: int, reason: str) -> None:
    """Print why the job ends, and end it."""
    print(f"nnmpi: {reason}", file=sys.stderr, flush=True)
    with contextlib.suppress(ProcessLookupError):
        os.kill(launcher, signal.SIGTERM)


def _ranks(launcher: int) -> set[int]:
    """Return the ranks that are living children of the `launcher`."""
    ranks = set()
    for children in Path(f"/proc/{launcher}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                with contextlib.suppress(OSError):
                    for variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                        if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
                            ranks.add(int(variable.partition(b"=")[2]))
    return ranks
