"""Checks of how ranks and threads share cores.

Hosts with the same kernel are containers of one machine. They share its cores, but each of them sees all cores.
"""

import math
from typing import Any

from nnmpi.doctor.finding import Facts, Finding, places
from nnmpi.text import counted

Ranks = list[dict[str, Any]]
# launcher -> how to bind ranks to cores of their own; a key is the beginning of the name of the launcher
BINDING = {
    "Open MPI": "mpirun --bind-to none, or --map-by core; nnmpi launch does so if there are more ranks than cores",
    "mpiexec (Hydra)": "mpiexec -bind-to core; Intel MPI: I_MPI_PIN=off",
    "srun": "srun --cpu-bind=cores, with --cpus-per-task cores for each rank",
    "Slurm": "srun --cpu-bind=cores, with --cpus-per-task cores for each rank",
}


def machines(facts: Facts) -> list[Ranks]:
    """Return the ranks of each machine."""
    by_kernel: dict[str, Ranks] = {}
    for rank in facts["ranks"]:
        by_kernel.setdefault(rank["kernel"], []).append(rank)
    return list(by_kernel.values())


def capacity(ranks: Ranks) -> int:
    """Return how many CPUs the ranks of a machine can use together: the allowed ones, within the quotas."""
    cpus = len({cpu for rank in ranks for cpu in rank["allowed_cpus"]})
    quotas = {(rank["host"], rank["quota"]["cgroup"]): rank["quota"]["cpus"] for rank in ranks if rank["quota"]}
    limited = sum(quotas.values()) if all(rank["quota"] for rank in ranks) else math.inf
    return max(1, int(min(cpus, limited)))


def _where(ranks: Ranks) -> str:
    hosts = list(dict.fromkeys(rank["host"] for rank in ranks))
    return hosts[0] if len(hosts) == 1 else f"{', '.join(hosts)}, which are one machine"


def crowd(ranks: Ranks) -> Ranks:
    """Return the first group of ranks that the launcher has bound to fewer cores than there are ranks in it."""
    for cores in sorted({tuple(rank["cores"]) for rank in ranks}, key=len):
        inside = [rank for rank in ranks if set(rank["cores"]) <= set(cores)]
        bound = [rank for rank in inside if set(rank["cpus"]) < set(rank["allowed_cpus"])]
        if len(bound) > len(cores):
            return bound
    return []


def bound_to_one_core(facts: Facts) -> Finding | None:
    """Find ranks that the launcher has bound to the same core while others are free."""
    crowds = [ranks for ranks in map(crowd, machines(facts)) if ranks]
    if not crowds:
        return None
    one = " (the hosts are one machine)" if len({rank["host"] for rank in crowds[0]}) > 1 else ""
    cpus = sorted({cpu for rank in crowds[0] for cpu in rank["cpus"]})
    more = f"; the same on {len(crowds) - 1} other machine{'s' * (len(crowds) > 2)}" if len(crowds) > 1 else ""
    launcher = facts["job"]["launcher"] or ""
    remedy = next(
        (flags for name, flags in BINDING.items() if launcher.startswith(name)),
        "tell the launcher not to bind ranks to cores",
    )
    return Finding(
        "problem",
        f"{places(crowds[0])} are bound to core{'s' * (len(cpus) > 1)} {', '.join(map(str, cpus))} together{one}{more}",
        remedy,
    )


def more_ranks_than_cores(facts: Facts) -> Finding | None:
    """Find machines with more ranks than cores: the ranks of a core wait for each other."""
    crowded = [ranks for ranks in machines(facts) if len(ranks) > capacity(ranks)]
    if not crowded:
        return None
    ranks, cores = crowded[0], capacity(crowded[0])
    limit = ranks[0]["quota"]
    why = (
        f" (a quota of the cgroup {limit['cgroup']})" if limit and limit["cpus"] < len(ranks[0]["allowed_cpus"]) else ""
    )
    return Finding(
        "problem",
        f"{len(ranks)} ranks share {counted(cores, 'core')}{why} of {_where(ranks)}",
        f"start no more than {counted(cores, 'rank')} there, or use more hosts",
    )


def more_threads_than_cores(facts: Facts) -> Finding | None:
    """Find machines or ranks with more BLAS threads than cores."""
    for ranks in machines(facts):
        threads, cores = sum(rank["threads"] for rank in ranks), capacity(ranks)
        cramped = [rank for rank in ranks if rank["threads"] > len(rank["cpus"])]
        if max(rank["threads"] for rank in ranks) == 1 or (threads <= cores and not cramped):
            continue
        if threads > cores:
            fit = max(1, cores // len(ranks))
            what = f"{counted(len(ranks), 'rank')} with {threads} BLAS threads share {counted(cores, 'core')}"
            what += f" of {_where(ranks)}"
        else:
            fit = len(cramped[0]["cpus"])
            what = f"{places(cramped)} {'have' if len(cramped) > 1 else 'has'} {cramped[0]['threads']} BLAS threads on "
            what += counted(fit, "core")
        preset = ranks[0]["preset_threads"]
        return Finding(
            "problem",
            what + (f" ({preset}={ranks[0]['threads']})" if preset else ""),
            f"--threads {fit}" + (f", or {preset}={fit}" if preset else ""),
        )
    return None


def other_kernel_pays(facts: Facts) -> Finding | None:
    """Find processors on which another kernel of OpenBLAS is faster for some layers."""
    advice = {rank["kernel_advice"] for rank in facts["ranks"]} - {""}
    if not advice:
        return None
    ranks = [rank for rank in facts["ranks"] if rank["kernel_advice"]]
    return Finding(
        "note",
        f"on this processor ({', '.join(dict.fromkeys(rank['host'] for rank in ranks))}) {sorted(advice)[0]}",
        "if your network has such layers, set OPENBLAS_CORETYPE=Haswell on all ranks",
    )
