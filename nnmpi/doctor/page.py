"""The page that ``info`` prints: first the findings with their remedies, then the facts in short groups."""

import time
from typing import Any

from nnmpi.doctor.finding import Facts, Finding
from nnmpi.text import counted, labelled, printable

LABEL = 18  # columns
HOSTS = 16  # hosts that are shown; --json has all
Rows = list[tuple[str, str]]


def page(findings: list[Finding], facts: Facts | None, width: int) -> str:
    """Return the findings, and the facts if any, in lines of at most `width` columns."""
    rows = [row for f in findings for row in ((f.severity, f.what), ("  remedy", f.remedy))]
    blocks = ["\n".join(_wrapped(*row, width) for row in rows) or "no problem was found"]
    if facts:
        groups = {"job": job_rows(facts), "reduction": reduction_rows(facts)}
        groups |= {f"host {host['host']}": host_rows(host, facts) for host in facts["hosts"][:HOSTS]}
        more = len(facts["hosts"]) - HOSTS
        if more > 0:
            groups["hosts"] = [("more", f"{counted(more, 'host')}; --json shows all")]
        for title, facts_rows in groups.items():
            lines = [_wrapped(f"  {label}", text, width) for label, text in facts_rows if text]
            blocks.append("\n".join([printable(title), *lines]))
    return "\n\n".join(blocks)


def as_json(findings: list[Finding], facts: Facts | None) -> dict[str, Any]:
    """Return the findings and facts for ``--json``."""
    return {"findings": [vars(finding) for finding in findings], **(facts or {})}


def _wrapped(label: str, text: str, width: int) -> str:
    return labelled(f"{label} ", text, max(width, 3 * LABEL), LABEL)


def job_rows(facts: Facts) -> Rows:
    """Return how the job was started and what it uses."""
    job, ranks = facts["job"], facts["ranks"]
    hosts = [rank["host"] for rank in ranks]
    first = ranks[0]
    coretype = f" (OPENBLAS_CORETYPE={first['openblas_coretype']})" if first["openblas_coretype"] else ""
    return [
        ("versions", ", ".join(f"{name} {version}" for name, version in first["versions"].items())),
        ("MPI library", _library(job)),
        ("launcher", _launcher(job)),
        ("nnmpi launch", f"would use {job['at_hand']}" if job["at_hand"] else job["at_hand_problem"]),
        ("world size", str(job["size"])),
        ("hosts", ", ".join(f"{host} ({counted(hosts.count(host), 'rank')})" for host in dict.fromkeys(hosts))),
        (
            "fault tolerance",
            "on: training continues without ranks that die" if job["recovers"] else "off: a lost rank ends the job",
        ),
        ("BLAS", blas_library(first["blas"]) + coretype),
        ("BLAS threads", f"{first['threads']} a rank ({_why_threads(first)}; --threads changes it)"),
        ("output", f"{facts['output']['directory']}{_shared(facts)}"),
        ("Slurm", _slurm(job["slurm"])),
    ]


def _library(job: dict[str, Any]) -> str:
    name = job["library"] or job["library_problem"]
    return (
        name
        if job["launcher"]
        else f"not needed for one rank; {job['library']} is installed"
        if job["library"]
        else name
    )


def _launcher(job: dict[str, Any]) -> str:
    if job["launcher"] is None:
        return "not started by a launcher"
    started = f"{job['launcher']}, {job['promised']} processes"
    if not job["library"]:
        return started
    if job["promised"] != job["size"]:
        return f"{started}: NOT the launcher of the library's MPI"
    return started + (", same MPI as the library" if job["size"] > 1 else "")


def blas_library(blas: dict[str, Any]) -> str:
    """Return the name of the BLAS that NumPy uses, or advice if it is unknown."""
    if blas["library"] is None:
        return (
            "unknown to threadpoolctl, or none: set its threads with its own environment variables; a NumPy with "
            "OpenBLAS or MKL may be faster (pip install numpy)"
        )
    return f"{blas['library']} {blas['version']}, kernel {blas['kernel']}"


def _why_threads(rank: dict[str, Any]) -> str:
    if rank["preset_threads"]:
        return f"{rank['preset_threads']}={rank['threads']}"
    limit = rank["quota"]
    if limit and limit["cpus"] < len(rank["cpus"]):
        return f"a quota of {limit['cpus']:g} CPUs for all ranks in the cgroup {limit['cgroup']}"
    return f"{counted(len(rank['cpus']), 'core')}, shared by all ranks that may use them"


def _shared(facts: Facts) -> str:
    output = facts["output"]
    if len(facts["hosts"]) == 1 or output["problem"]:
        return f" ({output['problem']})" if output["problem"] else ""
    return f" (not seen by {', '.join(output['unseen_by'])})" if output["unseen_by"] else " (seen by all hosts)"


def _slurm(variables: dict[str, str]) -> str:
    if not variables:
        return ""
    names = {"job_id": "job", "job_partition": "partition", "job_num_nodes": "nodes", "job_nodelist": "node list"}
    names |= {"ntasks": "tasks", "cpus_per_task": "CPUs per task", "restart_count": "restarts"}
    parts = [f"{name} {variables[key]}" for key, name in names.items() if key in variables]
    if variables.get("job_end_time", "").isdigit():
        parts.append(f"ends in {max(0, int(variables['job_end_time']) - int(time.time())) // 60} minutes")
    return ", ".join(parts)


def reduction_rows(facts: Facts) -> Rows:
    """Return how a run would add up gradients, and how fast that is."""
    reduction = facts["reduction"]
    rows = [("gradients", f"added up by {reduction['name']}" if reduction["times"] else reduction["name"])]
    for timing in reduction["times"]:
        speed = f", {timing['bytes'] / timing['seconds'] / 1e9:.2g} GB/s" if timing["bytes"] > 8 else ""
        rows.append((size(timing["bytes"]), f"{duration(timing['seconds'])}{speed}"))
    return rows


def size(number: float) -> str:
    """Return a number of bytes as ``8 B``, ``64 kB`` or ``4 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:.0f} B"


def duration(seconds: float) -> str:
    """Return a time as ``3.1 µs``, ``2.5 ms`` or ``1.2 s``."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def host_rows(host: dict[str, Any], facts: Facts) -> Rows:
    """Return what a host has, and what its ranks may use of it."""
    ranks = [rank for rank in facts["ranks"] if rank["host"] == host["host"]]
    limit, memory_limit = ranks[0]["quota"], ranks[0]["memory_limit"]
    quota = f", a quota of {limit['cpus']:g} CPUs (cgroup {limit['cgroup']})" if limit else ""
    memory = f", limited to {size(memory_limit)} by a cgroup" if memory_limit and memory_limit < host["memory"] else ""
    shm = host["shm"]
    interfaces = [i for i in host["interfaces"] if i["up"] and i["address"] and not i["address"].startswith("127.")]
    return [
        ("processor", f"{host['processor']}, {host['cpus']} CPUs{quota}"),
        ("ranks", "; ".join(_affinity(ranks))),
        ("memory", f"{size(host['memory'])}{memory}"),
        ("/dev/shm", f"{size(shm['free'])} free of {size(shm['size'])}" if shm else "not there"),
        ("network", ", ".join(map(_interface, interfaces))),
        ("InfiniBand", ", ".join(host["infiniband"])),
        ("clock", _clock(host, facts["hosts"][0])),
        ("system", host["system"]),
    ]


def _affinity(ranks: list[dict[str, Any]]) -> list[str]:
    """Return ``0, 1 on cores 0, 1`` for each group of ranks with the same cores."""
    ranks_by_cpus: dict[tuple[int, ...], list[int]] = {}
    for rank in ranks:
        ranks_by_cpus.setdefault(tuple(rank["cpus"]), []).append(rank["rank"])
    return [
        f"{spans(numbers)} on core{'s' * (len(cpus) > 1)} {spans(list(cpus))}"
        for cpus, numbers in ranks_by_cpus.items()
    ]


def spans(numbers: list[int]) -> str:
    """Return ascending whole numbers as ``0-3, 8``."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _interface(interface: dict[str, Any]) -> str:
    speed = interface["mbit_per_second"]
    return f"{interface['name']} {interface['address']}" + (f" ({speed / 1000:g} Gbit/s)" if speed else "")


def _clock(host: dict[str, Any], first: dict[str, Any]) -> str:
    clock = host["clock"]
    if not clock or host is first:
        return ""
    ahead, round_trip = clock["ahead_seconds"], clock["round_trip_seconds"]
    relation = "ahead of" if ahead >= 0 else "behind"
    return (
        f"{duration(abs(ahead))} {relation} {first['host']}'s, ± {duration(round_trip / 2)}; "
        f"a round trip takes {duration(round_trip)}"
    )
