"""Gather the facts of a job, its ranks and its hosts, as plain dictionaries for the checks and for JSON."""

import json
import os
import time
from pathlib import Path
from typing import Any

from nnmpi.cgroup import memory_limit, quota
from nnmpi.doctor import host_facts
from nnmpi.doctor.finding import Facts
from nnmpi.doctor.host_facts import needed_shm
from nnmpi.doctor.kernel_advice import kernel_advice
from nnmpi.doctor.reduction_times import reduction_times
from nnmpi.doctor.shared_output import shared_output
from nnmpi.environment import blas, versions
from nnmpi.errors import InputError
from nnmpi.launching.find_mpiexec import find_launcher
from nnmpi.memory import host_memory
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.clocks import compare
from nnmpi.mpi.cores import cores, cores_of, physical_core, preset_threads
from nnmpi.mpi.host import kernel
from nnmpi.mpi.launcher import allocated_tasks, launched, launcher_processes, library
from nnmpi.mpi.start import INSTALL_MPI, load
from nnmpi.mpi.world import World
from nnmpi.training.run_description import code

SLURM = (
    *("JOB_ID", "JOB_PARTITION", "JOB_NODELIST", "JOB_NUM_NODES", "JOB_END_TIME", "RESTART_COUNT", "ARRAY_TASK_ID"),
    *("NTASKS", "CPUS_PER_TASK"),
)


def gather(world: World, threads: int, output: Path, shm: dict[str, int] | None) -> Facts:
    """Gather the facts of the job `world`. All ranks take part; only the result of rank 0 is complete.

    Parameters
    ----------
    threads
        The number of BLAS threads of this rank.
    output
        The directory to which a run would write.
    shm
        `host_facts.shared_memory`, as it was before MPI started.
    """
    world.position.enter("gathering facts")
    world.addresses.meet()
    ranks = _gather_json(world, rank_facts(world, threads) | {"shm": shm})
    hosts = _gather_json(world, host_facts_of(world) if world.addresses.is_first_on_host else None)
    facts: Facts = {
        "job": job_facts(world),
        "ranks": ranks,
        "hosts": hosts,
        "output": {"directory": str(output), "problem": "", "unseen_by": []},
        "reduction": {"name": "", "times": []},
    }
    for host in hosts:
        shm_of_ranks = [rank.pop("shm") for rank in ranks if rank["host"] == host["host"]]
        host["shm"] = _host_shm(shm_of_ranks, facts["job"]["library"])
    if len({rank["code"] for rank in ranks}) > 1:
        return facts  # with different code, ranks may not make the same calls from here on
    world.position.enter("comparing clocks")
    clocks = compare(world, time.time_ns, [rank["host"] for rank in ranks])
    for host in hosts:
        ahead, round_trip = clocks[host["host"]]
        host["clock"] = {"ahead_seconds": ahead / 1e9, "round_trip_seconds": round_trip / 1e9}
    world.position.enter("looking for the output directory")
    facts["output"] = shared_output(world, output)
    world.position.enter("timing a reduction")
    facts["reduction"] = reduction_times(world)
    return facts


def _host_shm(shm_of_ranks: list[dict[str, int] | None], library: str | None) -> dict[str, int] | None:
    """Return the facts of a host's /dev/shm, as its first rank saw it: before other ranks took a part of it."""
    known = [shm for shm in shm_of_ranks if shm]
    if not known:
        return None
    return max(known, key=lambda shm: shm["free"]) | {"needed": needed_shm(library or "", len(shm_of_ranks))}


def _gather_json(world: World, facts: dict[str, Any] | None) -> list[dict[str, Any]]:
    texts = world.gather_bytes(b"" if facts is None else json.dumps(facts).encode())
    return [json.loads(text) for text in texts if text]


def job_facts(world: World) -> dict[str, Any]:
    """Return how the job was started and with which MPI; only rank 0 knows the launcher at hand."""
    launcher, promised, _ = launched()
    name, problem = _library(world)
    facts: dict[str, Any] = {
        "size": world.size,
        "library": name,
        "library_problem": problem,
        "launcher": launcher,
        "promised": promised,
        "tasks": allocated_tasks(),
        "recovers": world.recovers,
        "at_hand": None,
        "at_hand_mpi": None,
        "at_hand_problem": "",
        "slurm": {},
    }
    if world.rank == 0:
        try:
            at_hand = find_launcher()
        except InputError as error:
            facts["at_hand_problem"] = str(error).partition(f": {INSTALL_MPI}")[0]
        else:
            facts |= {"at_hand": str(at_hand), "at_hand_mpi": at_hand.mpi}
    if "SLURM_JOB_ID" in os.environ:
        variables = {name.lower(): os.environ.get(f"SLURM_{name}") for name in SLURM}
        facts["slurm"] = {name: value for name, value in variables.items() if value}
    return facts


def _library(world: World) -> tuple[str | None, str]:
    """Return the name of the MPI library that ranks use or would use, or else None and the reason."""
    if not isinstance(world.mpi, Alone):
        return world.library(), ""
    try:
        return library(load()), ""
    except InputError as error:
        return None, str(error).partition(f": {INSTALL_MPI}")[0]


def rank_facts(world: World, threads: int) -> dict[str, Any]:
    """Return the facts of this rank."""
    limit, preset = quota(), preset_threads()
    blas_facts = blas()
    launchers = launcher_processes() if launched()[0] else []
    return {
        "rank": world.rank,
        "host": world.host,
        "kernel": kernel(),
        "cpus": cores(),
        "cores": sorted({physical_core(cpu) for cpu in cores()}),
        # the CPUs of the launcher, or its daemon on this host; it may have bound this rank to a part of them
        "allowed_cpus": sorted({*cores(), *(cores_of(launchers[0]) if launchers else [])}),
        "quota": {"cpus": limit.cpus, "cgroup": limit.cgroup} if limit else None,
        "memory_limit": memory_limit(),
        "threads": threads,
        "preset_threads": preset[0] if preset else None,
        "blas": blas_facts,
        "kernel_advice": kernel_advice(blas_facts["kernel"]),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
        "versions": versions(),
        "code": code().split()[-1].decode(),
    }


def host_facts_of(world: World) -> dict[str, Any]:
    """Return the facts of the host of this rank."""
    return {
        "host": world.host,
        "processor": host_facts.processor(),
        "cpus": os.cpu_count() or 1,
        "memory": host_memory(),
        "system": f"{os.uname().sysname} {os.uname().release}",
        "interfaces": host_facts.interfaces(),
        "infiniband": host_facts.infiniband(),
        "clock": None,
    }
