"""The command ``info``: what a command started in the same way would use, with problems and their remedies."""

import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

from nnmpi.doctor.checks import check
from nnmpi.doctor.facts import gather
from nnmpi.doctor.finding import Facts, Finding
from nnmpi.doctor.host_facts import needed_shm, shared_memory
from nnmpi.doctor.page import as_json, page
from nnmpi.doctor.reach_hosts import unreached
from nnmpi.environment import set_threads
from nnmpi.errors import InputError
from nnmpi.faults.watchdog import Watchdog
from nnmpi.files.run_directory import RUNS
from nnmpi.launching.end_launcher import end_launcher
from nnmpi.launching.hostfile import Host
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.checks import blas_threads
from nnmpi.mpi.last_words import last_words
from nnmpi.mpi.launcher import launched, may_have_others
from nnmpi.mpi.launcher import library as name_of
from nnmpi.mpi.start import load, would_die
from nnmpi.mpi.world import World

STALLED = 15.0  # seconds that ranks wait for a rank that hangs
LIMIT = 60.0  # seconds for the whole command, the start of MPI included
LAST = 20.0  # seconds after that limit until ranks that still run end without a message
SLOW = 20  # number of ranks for which the limit is one second longer


def time_limit(ranks: int) -> float:
    """Return the seconds after which the ranks end their launcher."""
    return LIMIT + ranks / SLOW


def launched_time_limit(ranks: int) -> float:
    """Return the seconds after which ``nnmpi launch`` ends the launcher, if the ranks could not."""
    return time_limit(ranks) + LAST


def library() -> Any:
    """Load the MPI library without starting it; return `Alone` for a single rank, or if MPI cannot start.

    From here on a command under a launcher has a time limit, whatever happens.
    """
    name, size, rank = launched()
    if name:
        limit = time_limit(size)
        if rank == 0:
            end_launcher(
                f"not all of {size} ranks have answered within {limit:.0f} s: MPI cannot start, or its messages get "
                "lost. Check for a firewall between the hosts, and for a host that hangs",
                limit,
            )
        signal.alarm(int(limit + LAST))  # ends the ranks if the launcher cannot be ended from here
    if not may_have_others():
        return Alone()
    try:
        mpi = load()
    except InputError:
        return Alone()  # the facts report the missing library
    if would_die(mpi):
        return Alone()
    _warn_of_small_shm(mpi)
    return mpi


def _warn_of_small_shm(mpi: Any) -> None:
    """Print a note, on one rank of each host, if /dev/shm is so small that MPI may die while it starts."""
    is_first_on_host = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", os.environ.get("MPI_LOCALRANKID", "0")) == "0"
    ranks = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", os.environ.get("MPI_LOCALNRANKS", "1"))
    shm = shared_memory()
    if is_first_on_host and ranks.isdigit() and shm and shm["free"] < needed_shm(name_of(mpi), int(ranks)):
        text = f"/dev/shm of {socket.gethostname()} has {shm['free'] / 1e6:.0f} MB free, so MPI may die while it starts"
        last_words(f"nnmpi: note: {text}; in a container use docker run --shm-size=1g\n")


def info(world: World, output: str | None, machine_readable: bool, shm: dict[str, int] | None) -> int:
    """Gather the facts on all ranks and check them; rank 0 prints. Return the exit status: 1 if there is a problem.

    `shm` is the size of /dev/shm and its free bytes before MPI started.
    """
    threads = blas_threads(world)
    set_threads(threads)
    with Watchdog(world, STALLED, remark="") as watchdog:
        watchdog.start()
        facts = gather(world, threads, Path(output or RUNS), shm)
    findings = check(facts) if world.rank == 0 else []
    prints = world.rank == 0 and (world.size > 1 or launched()[2] == 0)
    if prints:
        show(findings, facts, machine_readable)
    has_problem = any(finding.severity == "problem" for finding in findings)
    status = int(world.broadcast_bytes(b"%d" % has_problem if world.rank == 0 else None))
    if status and not prints:
        time.sleep(0.5 if world.size > 1 else 2)  # the launcher ends all ranks when the first one exits with an error
    if launched()[0]:
        signal.alarm(0)
    return status


def show_unreached(hosts: list[Host], machine_readable: bool) -> bool:
    """Try to reach each of `hosts` as the launcher would. If a host cannot be reached, print why and return True."""
    findings = unreached(hosts)
    if findings:
        show(findings, None, machine_readable)
    return bool(findings)


def show(findings: list[Finding], facts: Facts | None, machine_readable: bool) -> None:
    """Print findings and facts, as a page or as JSON."""
    if machine_readable:
        print(json.dumps(as_json(findings, facts)), flush=True)
    else:
        print(page(findings, facts, shutil.get_terminal_size((100, 24)).columns), flush=True)
