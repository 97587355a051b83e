"""How a job starts and ends on all its ranks."""

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from nnmpi.errors import CommandError
from nnmpi.faults.launcher_death import end_with
from nnmpi.faults.recovery import recovering
from nnmpi.faults.startup_guard import guarded
from nnmpi.faults.witness import Witness
from nnmpi.launching.end_launcher import end_launcher
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.last_words import last_words
from nnmpi.mpi.launcher import abort_by_pmi, launched, launcher_processes, library
from nnmpi.mpi.start import library_or_alone, start
from nnmpi.mpi.world import World


def _agree_to_start(world: World, refusal: CommandError | None) -> None:
    """Do not begin where a rank refuses its command line: the others would wait for it. All ranks take part."""

    def attempt() -> None:
        with world.together():
            if refusal:
                raise refusal
        world.agree_on_end()

    recovering(world, attempt, lambda: None)


def run(work: Callable[[World], int | None], refusal: CommandError | None = None, mpi: Any = None) -> int:
    """Start MPI where a launcher started this process, do `work` with the world, end MPI; returns the exit status.

    That is what `work` returns, on all ranks the same, or 0. `mpi` is the library to start, if it is known already.

    An error that all ranks share is printed once and ends the job in good order. Any other exception ends it at
    once on every rank, after a message that names the rank: the others may be waiting for this one. With a `refusal`
    of its command line this rank takes part only as far as the others have to know.
    """
    mpi = mpi or library_or_alone()
    alone = isinstance(mpi, Alone)
    launchers = [] if alone else launcher_processes()
    witness = Witness(launched()[1] if library(mpi).startswith("MPICH") else 1)
    start(mpi, guarded)
    end_with(launchers)
    world = World(mpi)
    witness.watch(world.rank)
    world.before_exit = witness.leave
    status = 0
    try:
        _agree_to_start(world, refusal)
        status = work(world) or 0
    except CommandError as error:
        status = error.status
        if not error.shared:
            world.fail(f"nnmpi: rank {world.rank} of {world.size} on {world.host}: {error}", status)
        name, _, rank = launched()
        if world.rank == 0 and (world.size > 1 or rank == 0 or name == "Slurm"):
            last_words(f"nnmpi: {error}\n")  # srun's variables may be left over: then there is nobody else to speak
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
    world.before_exit()
    if world.recovers:
        _leave(world, status)
    if not alone:
        mpi.Finalize()
    return status


def _leave(world: World, status: int) -> NoReturn:
    """Leave without ending MPI, which would wait for ever for a rank that dies meanwhile (open-mpi/ompi#11404)."""
    if status == 0:
        with contextlib.suppress(world.mpi.Exception):
            world.agree_on_end()
        if world.addresses.hosts_without_ranks and world.addresses.is_first_on_host:
            hosts = ", ".join(world.addresses.hosts_without_ranks)
            end_launcher(
                f"note: stopping mpirun, which still waits for {hosts}; the training finished, whatever the exit "
                "status of mpirun"
            )
    sys.stderr.flush()
    os._exit(status)


def end_unstarted(error: CommandError) -> int:
    """End the job of which this rank cannot even start MPI, as the others wait for it; returns the exit status."""
    _, size, rank = launched()
    time.sleep(2 * (rank > 0))  # if all fail alike, rank 0 speaks, and ends the others before they do
    last_words(f"nnmpi: rank {rank} of {size} on {socket.gethostname()}: {error}\n")
    abort_by_pmi(error.status)
    return error.status
