"""Kills a rank while MPI starts (rank DIES_AT_START) or before MPI starts (rank DIES_EARLY).

Python imports this file when it starts, if its directory is on PYTHONPATH.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

if os.environ.get("DIES_EARLY") and os.environ.get("OMPI_COMM_WORLD_RANK"):
    from nnmpi.faults import startup_guard

    startup_guard.LONGEST = 8.0
    if os.environ["OMPI_COMM_WORLD_RANK"] == os.environ["DIES_EARLY"]:
        os.kill(os.getpid(), signal.SIGKILL)
elif os.environ.get("OMPI_COMM_WORLD_RANK") == os.environ.get("DIES_AT_START", "none"):
    from nnmpi.faults import startup_guard

    guarded = startup_guard.guarded

    @contextmanager
    def guarded_and_killed() -> Iterator[None]:
        with guarded():
            os.kill(os.getpid(), signal.SIGKILL)
            yield

    startup_guard.guarded = guarded_and_killed
