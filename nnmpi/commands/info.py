"""The command ``info``: what a command started in the same way would use, what is wrong with it, and the remedy."""

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

STALLED = 15.0  # seconds that ranks wait for one that does not move
LIMIT = 60.0  # seconds that all may take, MPI's start too; a job of thousands of ranks gets more
LAST = 20.0  # more seconds until all that still runs is ended without a word on the ranks
SLOW = 20  # ranks that may take a second more


def time_limit(ranks: int) -> float:
    """Seconds after which the ranks end their launcher."""
    return LIMIT + ranks / SLOW


def launched_time_limit(ranks: int) -> float:
    """Seconds after which ``nnmpi launch`` ends the launcher, if the ranks could not."""
    return time_limit(ranks) + LAST


def library() -> Any:
    """The MPI library, loaded but not started; a stand-in for it where there is one rank, or MPI cannot start at all.

    Whatever happens from here on, it takes no longer than a time limit.
    """
    name, size, rank = launched()
    if name:
        limit = time_limit(size)
        if rank == 0:
            end_launcher(
                f"not all of {size} ranks have answered within {limit:.0f} s: MPI cannot start, or its messages get "
                "lost. See that no firewall is between the hosts, and that none of them hangs",
                limit,
            )
        signal.alarm(int(limit + LAST))  # where the launcher cannot be ended from here, the ranks end
    if not may_have_others():
        return Alone()
    try:
        mpi = load()
    except InputError:
        return Alone()  # which the facts tell
    if would_die(mpi):
        return Alone()
    _warn_of_small_shm(mpi)
    return mpi


def _warn_of_small_shm(mpi: Any) -> None:
    """Say so before MPI starts where /dev/shm is so small that it may die of it; one rank of each host does."""
    first = os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", os.environ.get("MPI_LOCALRANKID", "0")) == "0"
    ranks = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", os.environ.get("MPI_LOCALNRANKS", "1"))
    shm = shared_memory()
    if first and ranks.isdigit() and shm and shm["free"] < needed_shm(name_of(mpi), int(ranks)):
        text = f"/dev/shm of {socket.gethostname()} has {shm['free'] / 1e6:.0f} MB free, so MPI may die while it starts"
        last_words(f"nnmpi: note: {text}; docker run --shm-size=1g\n")


def info(world: World, output: str | None, machine_readable: bool, shm: dict[str, int] | None) -> int:
    """Gather the facts and check them, on all ranks; rank 0 prints. Returns the exit status: 1 if there is a problem.

    `shm` is what /dev/shm was before MPI started.
    """
    threads = blas_threads(world)
    set_threads(threads)
    with Watchdog(world, STALLED, remark="") as watchdog:
        watchdog.start()
        facts = gather(world, threads, Path(output or RUNS), shm)
    findings = check(facts) if world.rank == 0 else []
    speaks = world.rank == 0 and (world.size > 1 or launched()[2] == 0)
    if speaks:
        show(findings, facts, machine_readable)
    status = int(world.broadcast_bytes(str(_status(findings)).encode() if world.rank == 0 else None))
    if status and not speaks:
        time.sleep(0.5 if world.size > 1 else 2)  # the launcher ends all when the first exits
    if launched()[0]:
        signal.alarm(0)
    return status


def show_unreached(hosts: list[Host], machine_readable: bool) -> bool:
    """Try to reach each of `hosts` as the launcher would; if some cannot be, print why, and return True."""
    findings = unreached(hosts)
    if findings:
        show(findings, None, machine_readable)
    return bool(findings)


def show(findings: list[Finding], facts: Facts | None, machine_readable: bool) -> None:
    """Print findings and facts, for people or for programs."""
    if machine_readable:
        print(json.dumps(as_json(findings, facts)), flush=True)
    else:
        print(page(findings, facts, shutil.get_terminal_size((100, 24)).columns), flush=True)


def _status(findings: list[Finding]) -> int:
    return int(any(finding.severity == "problem" for finding in findings))
