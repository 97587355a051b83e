"""Start and end a job on all its ranks."""

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from nnmpi.errors import CommandError, RunError
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
    """Raise the `refusal` of a rank's command line on all ranks, so that none waits for it. All ranks take part.

    Raises
    ------
    RunError
        On all survivors, if a rank has died. They could train, but with fewer ranks than the user asked for.
    """

    def attempt() -> None:
        with world.together():
            if refusal:
                raise refusal
        world.agree_on_end()

    def give_up() -> None:
        raise RunError(f"{world.addresses.name(world.lost)} died before the job began", shared=True)

    recovering(world, attempt, give_up)


def run(work: Callable[[World], int | None], refusal: CommandError | None = None, mpi: Any = None) -> int:
    """Start MPI if a launcher started this process, call `work` with the world, end MPI, and return the exit status.

    The exit status is what `work` returns, the same on all ranks, or 0. `mpi` is the MPI library if the caller has
    loaded it. A rank with a `refusal` of its command line only tells the other ranks about it.

    An error that all ranks share is printed once, and MPI ends normally; after a defect a rank prints the traceback.
    Any other exception ends the job at once on all ranks, because they may wait for this one; the message names the
    rank.
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
            world.abort(f"nnmpi: rank {world.rank} of {world.size} on {world.host}: {error}", status)
        if error.__cause__:  # a defect on this rank, the first one that has it
            traceback.print_exception(error.__cause__)
        name, _, rank = launched()
        if world.rank == 0 and (world.initial_size > 1 or rank == 0 or name == "Slurm"):
            # a single process with left-over variables of srun prints, too: no other rank would
            last_words(f"nnmpi: {error}\n")
        elif world.size == 1 or world.recovers:
            # the launcher ends all ranks when the first one exits: that must be the rank that prints
            time.sleep(2 if world.size == 1 else 0.5)
    except MemoryError as error:
        world.abort(f"nnmpi: rank {world.rank} of {world.size} on {world.host}: not enough memory ({error})", 2)
    except BaseException as error:
        if isinstance(error, mpi.Exception):
            time.sleep(1)  # another rank may have died: a process that knows which one names it and ends this rank
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        text = f"nnmpi: rank {world.rank} of {world.size} on {world.host}: {type(error).__name__}: {error}"
        world.abort(text if status == 130 else f"{traceback.format_exc()}{text}", status)
    sys.stdout.flush()
    world.before_exit()
    if world.recovers:
        _leave(world, status)
    if not alone:
        world.free_requests()
        mpi.Finalize()
    return status


def _leave(world: World, status: int) -> NoReturn:
    """End this process without MPI_Finalize, which would wait for ever for a dying rank (open-mpi/ompi#11404)."""
    if status == 0:
        with contextlib.suppress(world.mpi.Exception):
            world.agree_on_end()
        if world.addresses.hosts_without_ranks and world.addresses.is_first_on_host:
            hosts = ", ".join(world.addresses.hosts_without_ranks)
            end_launcher(
                f"note: training finished; stopping mpirun, which still waits for {hosts}. Ignore its exit status"
            )
    sys.stderr.flush()
    os._exit(status)


def end_unstarted(error: CommandError) -> int:
    """Print the error and end the job, without MPI: the other ranks wait for this one. Return the exit status."""
    _, size, rank = launched()
    time.sleep(2 * (rank > 0))  # if all ranks fail, rank 0 prints the error and ends the others before they print
    last_words(f"nnmpi: rank {rank} of {size} on {socket.gethostname()}: {error}\n")
    time.sleep(0.1)  # for Hydra to forward the message before it ends the job
    abort_by_pmi(error.status)
    return error.status
