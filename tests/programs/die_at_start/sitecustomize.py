"""A rank that dies while MPI starts: Python imports this file when it starts, if its directory is on PYTHONPATH."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

if os.environ.get("OMPI_COMM_WORLD_RANK") == os.environ.get("DIES_AT_START", "none"):
    from nnmpi.faults import startup_guard

    guarded = startup_guard.guarded

    @contextmanager
    def guarded_and_killed() -> Iterator[None]:
        with guarded():
            os.kill(os.getpid(), signal.SIGKILL)
            yield

    startup_guard.guarded = guarded_and_killed
