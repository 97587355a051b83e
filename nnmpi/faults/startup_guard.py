"""A guard for the time in which MPI starts under ULFM: who dies then is not noticed by those that wait for it."""

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
GRACE = 2.0  # seconds that MPI has to start after a death: it may have come so far that it can do without the dead


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """End the job if a rank on this host dies while MPI starts, which happens inside.

    A process of its own looks on, as no Python runs in this one until MPI has started. It outlives this one for a
    moment: ranks on other hosts would wait for the dead one for ever, and nobody there sees that it died.
    """
    launcher = os.getppid()
    started, tell = os.pipe()
    guard = os.fork()
    if guard == 0:
        try:
            os.close(tell)
            _guard(started, launcher)
        finally:
            os._exit(0)
    os.close(started)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the guard has ended the job already
            os.write(tell, STARTED)
        os.close(tell)
        os.waitpid(guard, 0)


def _guard(started: int, launcher: int) -> None:
    """Watch the launcher's children until MPI has `started`; a pipe that is closed says that this rank has died."""
    size, here, rank = (int(os.environ[f"OMPI_COMM_WORLD_{name}"]) for name in ("SIZE", "LOCAL_SIZE", "RANK"))
    noticed, began = None, _began(launcher)
    while not select.select([started], [], [], 0.2)[0]:
        alive = _ranks(launcher)
        if rank not in alive or len(alive) >= here:  # there is something between the launcher and us, or all is well
            noticed = None
            continue
        noticed = noticed or time.monotonic()
        if time.monotonic() - noticed > GRACE and rank == min(alive):
            dead = [str(r) for r in range(size) if r not in alive] if here == size else []
            who = f"rank{'s' * (len(dead) > 1)} {', '.join(dead)} of {size}" if dead else "a rank on this host"
            _end(launcher, who)
            return
    if os.read(started, 1) == STARTED or here == size:
        return
    time.sleep(GRACE)
    # A launcher that has ended meanwhile has ended the job; if other ranks are here, their guards see to it.
    if began and _began(launcher) == began and not _ranks(launcher):
        _end(launcher, f"rank {rank} of {size}")


def _began(pid: int) -> int | None:
    """When a process began, which tells it from a later one with its number; None if it has ended."""
    found = process(pid)
    return found[1] if found else None


def _end(launcher: int, who: str) -> None:
    print(f"nnmpi: {who} died while MPI started, the job cannot go on", file=sys.stderr, flush=True)
    with contextlib.suppress(ProcessLookupError):
        os.kill(launcher, signal.SIGTERM)


def _ranks(launcher: int) -> set[int]:
    """The ranks among the children of the `launcher` that are alive."""
    ranks = set()
    for children in Path(f"/proc/{launcher}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                with contextlib.suppress(OSError):
                    for variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                        if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
                            ranks.add(int(variable.partition(b"=")[2]))
    return ranks
