"""Checks of each host, and of differences between hosts."""

from typing import Any

from nnmpi.doctor.finding import Facts, Finding, places

CLOCKS = 1.0  # seconds; with a smaller difference, log files of two hosts can still be compared
LOCKS = 300.0  # seconds; with a larger difference, the lock of a running training may look abandoned


def small_shm(facts: Facts) -> Finding | None:
    """Find hosts, often containers, whose /dev/shm is too small for MPI: ranks die when they write to it."""
    small = [host for host in facts["hosts"] if host["shm"] and host["shm"]["free"] < host["shm"]["needed"]]
    if not small:
        return None
    sizes = []
    for host in small:
        free, size, needed = (f"{host['shm'][name] / 1e6:.0f} MB" for name in ("free", "size", "needed"))
        sizes.append(f"{host['host']} ({free} free of {size}; the MPI library may need {needed})")
    return Finding(
        "problem",
        f"/dev/shm is too small on {', '.join(sizes)}: ranks may die while they start, or send messages more slowly",
        "docker run --shm-size=1g (Podman too), in Kubernetes an emptyDir with medium: Memory, or "
        "mount -o remount,size=1G /dev/shm",
    )


def _ranks_by_value(facts: Facts, value_of: Any) -> dict[str, list[dict[str, Any]]]:
    """Group the ranks by `value_of` their facts."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for rank in facts["ranks"]:
        groups.setdefault(str(value_of(rank)), []).append(rank)
    return groups


def _listed(values: dict[str, list[dict[str, Any]]]) -> str:
    """``5.0 on node1, node2; 4.2 on node3``; names ranks instead of hosts if the ranks of a host differ."""
    hosts_by_value = {value: dict.fromkeys(rank["host"] for rank in ranks) for value, ranks in values.items()}
    names = [host for hosts in hosts_by_value.values() for host in hosts]
    if len(names) == len(set(names)):
        return "; ".join(f"{value} on {', '.join(hosts)}" for value, hosts in hosts_by_value.items())
    return "; ".join(f"{value} on {places(ranks)}" for value, ranks in values.items())


def versions_differ(facts: Facts) -> Finding | None:
    """Find ranks with different software: train refuses different code, and other versions may compute other bits."""
    differing = []
    for name in facts["ranks"][0]["versions"]:
        values = _ranks_by_value(facts, lambda rank, name=name: rank["versions"].get(name))
        if len(values) > 1:
            differing.append(f"{name} {_listed(values)}")
    codes = _ranks_by_value(facts, lambda rank: rank["code"][:8])
    if len(codes) > 1 and not any(text.startswith("nnmpi ") for text in differing):
        differing.insert(0, f"source files of nnmpi {_listed(codes)}")
    if not differing:
        return None
    return Finding(
        "problem",
        f"versions differ: {'; '.join(differing)}",
        "install the same versions on all hosts, preferably in one directory that they share",
    )


def blas_kernels_differ(facts: Facts) -> Finding | None:
    """Find ranks that multiply matrices with different code: bits and speed differ."""
    values = _ranks_by_value(
        facts, lambda rank: " ".join(str(rank["blas"][name]) for name in ("library", "version", "kernel"))
    )
    if len(values) == 1:
        return None
    return Finding(
        "problem",
        f"BLAS differs: {_listed(values)}; results depend on which rank holds a shard, even with --deterministic, "
        "and all ranks wait for the slowest",
        "use hosts of one kind (srun --constraint=…), or set OPENBLAS_CORETYPE=Haswell on all ranks",
    )


def processors_differ(facts: Facts) -> Finding | None:
    """Find hosts with different processors: all ranks wait for the slowest."""
    hosts_by_processor: dict[str, list[str]] = {}
    for host in facts["hosts"]:
        hosts_by_processor.setdefault(host["processor"], []).append(host["host"])
    if len(hosts_by_processor) < 2:
        return None
    listed = "; ".join(f"{name} on {', '.join(hosts)}" for name, hosts in hosts_by_processor.items())
    return Finding(
        "note",
        f"processors differ: {listed}; all ranks wait for the slowest",
        "use hosts of one kind (srun --constraint=…)",
    )


def clocks_apart(facts: Facts) -> Finding | None:
    """Find hosts whose clocks differ by more than `CLOCKS`, beyond the error of the comparison."""
    apart = []
    for host in facts["hosts"]:
        clock = host["clock"]
        if clock and abs(clock["ahead_seconds"]) - clock["round_trip_seconds"] / 2 > CLOCKS:
            apart.append(host)
    if not apart:
        return None
    first = facts["hosts"][0]["host"]
    listed = ", ".join(f"{host['host']} is {host['clock']['ahead_seconds']:+.1f} s from {first}" for host in apart)
    worst = max(abs(host["clock"]["ahead_seconds"]) for host in apart)
    return Finding(
        "problem" if worst > LOCKS else "note",
        f"clocks differ: {listed}; so do the times in log files"
        + ("; the lock of a running training may look abandoned" if worst > LOCKS else ""),
        "synchronize the clocks of all hosts with NTP (chronyc tracking)",
    )


def same_address(facts: Facts) -> Finding | None:
    """Find an address that several hosts have, such as that of Docker's bridge: MPI may try it, and hang."""
    hosts_by_address: dict[tuple[str, str], list[str]] = {}
    for host in facts["hosts"]:
        for interface in host["interfaces"]:
            address = interface["address"]
            if interface["up"] and address and not address.startswith(("127.", "169.254.")):
                hosts_by_address.setdefault((interface["name"], address), []).append(host["host"])
    shared = {name: hosts for (name, _), hosts in hosts_by_address.items() if len(hosts) > 1}
    if not shared:
        return None
    name, hosts = next(iter(shared.items()))
    names = ",".join(shared)
    return Finding(
        "note",
        f"interface {name} has the same address on {', '.join(hosts)}: MPI may use it between them, and hang",
        f"Open MPI: --mca btl_tcp_if_exclude lo,{names}; MPICH: FI_TCP_IFACE=… with the interface of the network",
    )


def output_not_shared(facts: Facts) -> Finding | None:
    """Find hosts that do not see the output directory: the results are lost with the host of rank 0."""
    output = facts["output"]
    if not output["unseen_by"]:
        return None
    return Finding(
        "problem",
        f"{output['directory']} on {facts['hosts'][0]['host']} is not seen by {', '.join(output['unseen_by'])}: "
        "results and checkpoints are lost with that host, and a run can only resume with rank 0 on it",
        "--output DIR on a file system that all hosts share",
    )


def output_not_writable(facts: Facts) -> Finding | None:
    """Find an output directory to which rank 0 cannot write."""
    output = facts["output"]
    if not output["problem"]:
        return None
    return Finding("problem", f"{output['directory']}: {output['problem']}", "--output DIR to which rank 0 can write")
