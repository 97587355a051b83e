"""What a job is, and what each of its ranks and hosts is and has: plain dictionaries, for the checks and for JSON."""

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
    """The facts of the job that `world` is; all ranks take part, and rank 0's result is whole.

    Parameters
    ----------
    threads
        How many threads BLAS has on this rank.
    output
        Where a run would write.
    shm
        `host_facts.shared_memory`, before MPI took its part of it.
    """
    world.position.enter("gathering facts")
    world.addresses.meet()
    ranks = _from_all(world, rank_facts(world, threads) | {"shm": shm})
    hosts = _from_all(world, host_facts_of(world) if world.addresses.is_first_on_host else None)
    facts: Facts = {
        "job": job_facts(world),
        "ranks": ranks,
        "hosts": hosts,
        "output": {"directory": str(output), "problem": "", "unseen_by": []},
        "reduction": {"name": "", "times": []},
    }
    for host in hosts:
        host["shm"] = _shm([rank.pop("shm") for rank in ranks if rank["host"] == host["host"]], facts["job"]["library"])
    if len({rank["code"] for rank in ranks}) > 1:
        return facts  # with other code they may not do the same from here on
    world.position.enter("comparing clocks")
    clocks = compare(world, time.time_ns, [rank["host"] for rank in ranks])
    for host in hosts:
        ahead, took = clocks[host["host"]]
        host["clock"] = {"ahead_seconds": ahead / 1e9, "round_trip_seconds": took / 1e9}
    world.position.enter("looking for the output directory")
    facts["output"] = shared_output(world, output)
    world.position.enter("timing a reduction")
    facts["reduction"] = reduction_times(world)
    return facts


def _shm(seen: list[dict[str, int] | None], name: str | None) -> dict[str, int] | None:
    """Of what the ranks of a host saw of /dev/shm before MPI started the most: what others had not yet taken."""
    there = [shm for shm in seen if shm]
    if not there:
        return None
    return max(there, key=lambda shm: shm["free"]) | {"needed": needed_shm(name or "", len(seen))}


def _from_all(world: World, mine: dict[str, Any] | None) -> list[dict[str, Any]]:
    texts = world.gather_bytes(b"" if mine is None else json.dumps(mine).encode())
    return [json.loads(text) for text in texts if text]


def job_facts(world: World) -> dict[str, Any]:
    """How the job was started, with which MPI; this is the same on all ranks, or only known to rank 0."""
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
            facts["at_hand_problem"] = str(error).partition(": on a laptop")[0]
        else:
            facts |= {"at_hand": str(at_hand), "at_hand_mpi": at_hand.mpi}
    if "SLURM_JOB_ID" in os.environ:
        variables = {name.lower(): os.environ.get(f"SLURM_{name}") for name in SLURM}
        facts["slurm"] = {name: value for name, value in variables.items() if value}
    return facts


def _library(world: World) -> tuple[str | None, str]:
    """The MPI library in use; without a launcher, the one that a launcher's ranks would use. Else why there is none."""
    if not isinstance(world.mpi, Alone):
        return world.library(), ""
    try:
        return library(load()), ""
    except InputError as error:
        return None, str(error).partition(f": {INSTALL_MPI}")[0]


def rank_facts(world: World, threads: int) -> dict[str, Any]:
    """What this rank is and has."""
    limit, preset = quota(), preset_threads()
    math = blas()
    above = launcher_processes() if launched()[0] else []
    return {
        "rank": world.rank,
        "host": world.host,
        "kernel": kernel(),
        "cpus": cores(),
        "cores": sorted({physical_core(cpu) for cpu in cores()}),
        # what the launcher, or its daemon on this host, may use: a rank may be bound to a part of it
        "allowed_cpus": sorted({*cores(), *(cores_of(above[0]) if above else [])}),
        "quota": {"cpus": limit.cpus, "cgroup": limit.cgroup} if limit else None,
        "memory_limit": memory_limit(),
        "threads": threads,
        "preset_threads": preset[0] if preset else None,
        "blas": math,
        "kernel_advice": kernel_advice(math["kernel"]),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
        "versions": versions(),
        "code": code().split()[-1].decode(),
    }


def host_facts_of(world: World) -> dict[str, Any]:
    """What the host of this rank is and has; of each host one rank says so."""
    return {
        "host": world.host,
        "processor": host_facts.processor(),
        "cpus": os.cpu_count() or 1,
        "memory": host_facts.memory(),
        "system": f"{os.uname().sysname} {os.uname().release}",
        "interfaces": host_facts.interfaces(),
        "infiniband": host_facts.infiniband(),
        "clock": None,
    }
