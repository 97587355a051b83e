"""Checks of the hosts, each by itself and against the others."""

from typing import Any

from nnmpi.doctor.finding import Facts, Finding, places

CLOCKS = 1.0  # seconds that clocks may differ: log files of two hosts can still be read side by side
LOCKS = 300.0  # seconds from which on the lock of a running training may look as if it had been left behind


def small_shm(facts: Facts) -> Finding | None:
    """MPI's shared memory does not fit into /dev/shm, as in containers: ranks die when they write to it."""
    small = [host for host in facts["hosts"] if host["shm"] and host["shm"]["free"] < host["shm"]["needed"]]
    if not small:
        return None
    sizes = []
    for host in small:
        free, size, needed = (f"{host['shm'][name] / 1e6:.0f} MB" for name in ("free", "size", "needed"))
        sizes.append(f"{host['host']} ({free} free of {size}; the MPI library may need {needed})")
    return Finding(
        "problem",
        f"/dev/shm is small on {', '.join(sizes)}: ranks die while they start, or send their messages a slower way",
        "docker run --shm-size=1g (Podman too), in Kubernetes an emptyDir with medium: Memory, or "
        "mount -o remount,size=1G /dev/shm",
    )


def _values(facts: Facts, value: Any) -> dict[str, list[dict[str, Any]]]:
    """The ranks that have each value of something."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rank in facts["ranks"]:
        found.setdefault(str(value(rank)), []).append(rank)
    return found


def _listed(values: dict[str, list[dict[str, Any]]]) -> str:
    """``5.0 on node1, node2; 4.2 on node3``; ranks where those of one host differ."""
    hosts = {value: dict.fromkeys(rank["host"] for rank in ranks) for value, ranks in values.items()}
    names = [host for some in hosts.values() for host in some]
    if len(names) == len(set(names)):
        return "; ".join(f"{value} on {', '.join(some)}" for value, some in hosts.items())
    return "; ".join(f"{value} on {places(ranks)}" for value, ranks in values.items())


def versions_differ(facts: Facts) -> Finding | None:
    """Ranks run different software: train refuses different code, and other numerics give other bits."""
    differing = []
    for name in facts["ranks"][0]["versions"]:
        values = _values(facts, lambda rank, name=name: rank["versions"].get(name))
        if len(values) > 1:
            differing.append(f"{name} {_listed(values)}")
    codes = _values(facts, lambda rank: rank["code"][:8])
    if len(codes) > 1 and not any(text.startswith("nnmpi ") for text in differing):
        differing.insert(0, f"source files of nnmpi {_listed(codes)}")
    if not differing:
        return None
    return Finding(
        "problem",
        f"versions differ: {'; '.join(differing)}",
        "install the same on all hosts, best into one directory that they share",
    )


def blas_kernels_differ(facts: Facts) -> Finding | None:
    """Ranks multiply matrices with different code: other bits, and other speed."""
    values = _values(facts, lambda rank: " ".join(str(rank["blas"][name]) for name in ("library", "version", "kernel")))
    if len(values) == 1:
        return None
    return Finding(
        "problem",
        f"the BLAS differs: {_listed(values)}; bits depend on where a shard is, also with --deterministic, and all "
        "wait for the slowest",
        "use hosts of one kind (srun --constraint=…), or set OPENBLAS_CORETYPE=Haswell on all ranks",
    )


def processors_differ(facts: Facts) -> Finding | None:
    """The hosts have different processors: all wait for the slowest."""
    found: dict[str, list[str]] = {}
    for host in facts["hosts"]:
        found.setdefault(host["processor"], []).append(host["host"])
    if len(found) < 2:
        return None
    listed = "; ".join(f"{name} on {', '.join(hosts)}" for name, hosts in found.items())
    return Finding(
        "note",
        f"processors differ: {listed}; all ranks wait for the slowest",
        "use hosts of one kind (srun --constraint=…)",
    )


def clocks_apart(facts: Facts) -> Finding | None:
    """Clocks of hosts differ by more than the messages that compare them can explain."""
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
        f"clocks differ: {listed}; times in log files do, too"
        + ("; the lock of a running training may be taken for an old one" if worst > LOCKS else ""),
        "let all hosts keep time with NTP (chronyc tracking)",
    )


def same_address(facts: Facts) -> Finding | None:
    """Hosts have an address in common, such as that of Docker's bridge: it leads nowhere, and MPI may try it."""
    found: dict[tuple[str, str], list[str]] = {}
    for host in facts["hosts"]:
        for interface in host["interfaces"]:
            address = interface["address"]
            if interface["up"] and address and not address.startswith(("127.", "169.254.")):
                found.setdefault((interface["name"], address), []).append(host["host"])
    double = {name: hosts for (name, _), hosts in found.items() if len(hosts) > 1}
    if not double:
        return None
    name, hosts = next(iter(double.items()))
    names = ",".join(double)
    return Finding(
        "note",
        f"interface {name} has the same address on {', '.join(hosts)}: MPI may take it for a way between them, and "
        "hang",
        f"Open MPI: --mca btl_tcp_if_exclude lo,{names}; MPICH: FI_TCP_IFACE=… with the interface of the network",
    )


def output_not_shared(facts: Facts) -> Finding | None:
    """Only rank 0's host sees the results: if it is lost, so are they."""
    output = facts["output"]
    if not output["unseen_by"]:
        return None
    return Finding(
        "problem",
        f"{output['directory']} on {facts['hosts'][0]['host']} is not seen by {', '.join(output['unseen_by'])}: "
        "results and checkpoints are lost with that host, and a run resumes only where rank 0 is on it again",
        "--output DIR on a file system that all hosts share",
    )


def output_not_writable(facts: Facts) -> Finding | None:
    """Rank 0 cannot write its results."""
    output = facts["output"]
    if not output["problem"]:
        return None
    return Finding("problem", f"{output['directory']}: {output['problem']}", "--output DIR that rank 0 may write to")
