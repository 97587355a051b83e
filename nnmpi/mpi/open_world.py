"""The world of a training that is called from Python. MPI is started only if there may be other ranks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nnmpi.errors import InputError
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.checks import check_launcher
from nnmpi.mpi.launcher import launched, may_have_others
from nnmpi.mpi.start import check_can_start, load, prepare
from nnmpi.mpi.world import World


@contextmanager
def open_world(comm: Any = None) -> Iterator[World]:
    """Open a world of the ranks of `comm`, by default of all ranks of the job; all of them enter and leave it together.

    The world gets a duplicate of the communicator, so that its messages never mix with those of the caller. If MPI runs
    already, it is used. If not, it is started if a launcher started this process or `comm` is given. nnmpi does not
    finalize MPI: mpi4py does so when Python ends.

    Raises
    ------
    InputError
        If a launcher started this process, and no MPI library can be loaded, or it is of another MPI; or if `comm` is
        no communicator that this rank is in.
    """
    if comm is None and not _has_started() and not may_have_others():
        yield World(Alone())
        return
    mpi = load(finalize=True)
    if not mpi.Is_initialized():
        check_can_start(mpi)
        prepare(mpi)
        mpi.Init_thread()  # with mpi4py's default, MPI_THREAD_MULTIPLE: the caller may use MPI in threads
    if comm is None and launched()[0]:
        check_launcher(World(mpi))
    if comm is None:
        comm = mpi.COMM_WORLD
    elif not (comm and isinstance(comm, mpi.Intracomm)):
        raise InputError(
            f"comm is {comm!r}; allowed are intracommunicators of mpi4py. Ranks outside of a communicator have "
            "MPI.COMM_NULL in its place: call this on its own ranks only"
        )
    own = comm.Dup()
    world = World(mpi, own)
    try:
        yield world
    finally:
        world.free_requests()
        own.Free()


def _has_started() -> bool:
    """Whether MPI runs in this process already."""
    mpi = sys.modules.get("mpi4py.MPI")
    return mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized()
