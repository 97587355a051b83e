"""The results in Markdown; every figure comes from bench.json."""

from collections.abc import Callable, Iterable
from typing import Any

Figure = dict[str, Any]
Format = Callable[[float], str]

OURS = ("nnmpi, mpirun", "nnmpi launch", "limit", "launch / mpirun")
SHARES = {
    "share of the limit": "limit / nnmpi",
    "share in one loop": "products and own reduction in one loop",
    "share in one loop with the update": "and the update",
}


def markdown(results: dict[str, Any]) -> str:
    """Return the tables of all measured parts."""
    sections = [_head(results)]
    writers = {"steps": _steps, "sharing": _sharing, "startup": _startup, "memory": _memory, "growth": _growth}
    for part, write in writers.items():
        if part in results:
            sections += write(results[part])
    return "\n\n".join(sections) + "\n"


def seconds(value: float) -> str:
    """Return the time with three digits and a suitable unit."""
    unit, factor = next(
        ((unit, factor) for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)) if value * factor >= 1), ("µs", 1e6)
    )
    return f"{digits(value * factor)} {unit}"


def digits(value: float) -> str:
    """Return three digits: 0.123, 1.23, 12.3, 123, 1234."""
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}"


def ratio(value: float) -> str:
    """Return two decimals, or one from 10 on."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def cell(figure: Figure, form: Format) -> str:
    """Return ``median (low to high)``, or the reason why there is none."""
    if "failed" in figure:
        return f"failed: {figure['failed']}".replace("|", "/")
    return f"{form(figure['median'])} ({form(figure['low'])} to {form(figure['high'])})"


def grid(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _head(results: dict[str, Any]) -> str:
    machine, ours = results["machine"], results["nnmpi"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    versions = [f"{name} {version}" for name, version in ours["versions"].items()]
    blas = f"{ours['blas']['library']} {ours['blas']['version']} ({ours['blas']['kernel']})"
    theirs: dict[str, str] = {}
    for network in results.get("steps", {}).values():
        theirs |= network["versions"]
    lines = [
        f"`{results['command']}` on {results['made']}, commit {results['commit']}: medians of {results['rounds']} "
        "rounds, lowest and highest in brackets.",
        f"{machine['processor']}, {machine['cores']} cores, caches {caches}, {machine['memory_gb']} GiB, "
        f"{machine['system']}; load average at the start {machine['load_at_start']:.2f}.",
        f"{', '.join(versions)}, {blas}, {ours['mpi']}.",
    ]
    if theirs:
        lines.append(f"Peers: {', '.join(f'{name} {version}' for name, version in theirs.items())}.")
    if "peers" in results:
        lines.append(f"No peers: {results['peers']}.")
    return "  \n".join(lines)


def _steps(steps: dict[str, Any]) -> list[str]:
    two, one, scaling, parts, used = [], [], [], [], []
    peers: list[str] = []
    together: list[str] = []
    alone: list[str] = []
    for name, network in steps.items():
        times, peers = network["seconds"], list(network["settings"])
        together = list(network["times nnmpi launch"])
        alone = [p for p in peers if p not in together]
        row = [name, *(cell(times[way], seconds) for way in ("nnmpi, 2 ranks", "nnmpi launch, 2 ranks", "limit"))]
        row += [cell(network["fault tolerance"], ratio), *(cell(network[share], ratio) for share in SHARES)]
        two.append([*row, *_against(network, peers, together)])
        one.append([name, cell(times["nnmpi, 1 rank"], seconds), *_against(network, peers, alone)])
        scaling.append([name, *(cell(figure, ratio) for figure in network["weak scaling"].values())])
        parts.append([name, *_parts(network)])
        used.append([name, *(network["settings"][peer]["used"] or "plain" for peer in peers)])
    scaled = list(next(iter(steps.values()))["weak scaling"])
    sections = [
        "### A step, 2 ranks on 2 cores",
        grid(["network (batch of a rank)", *OURS, *SHARES.values(), *together], two),
        "### A step, one process on one core",
        grid(["network (batch)", "nnmpi", *alone], one),
        "### Weak scaling from 1 to 2 ranks: time of a step on 1 rank / on 2",
        grid(["network (batch of a rank)", *scaled], scaling),
        "### Where the time of a step goes, 2 ranks",
        grid(["network (batch of a rank)", "matrix products", "reduction", "update", "the rest"], parts),
    ]
    if peers:
        sections += ["### The settings that were best", grid(["network", *peers], used)]
    return sections


def _against(network: dict[str, Any], peers: list[str], wanted: list[str]) -> list[str]:
    """Return for each peer the time of a step, and its ratio to nnmpi's; on 2 ranks also to `nnmpi launch`'s."""
    cells = []
    for peer in (p for p in wanted if p in peers):
        times = [n[peer] for n in (network["times nnmpi"], network["times nnmpi launch"]) if peer in n]
        text = cell(network["seconds"][peer], seconds)
        more = " and ".join(f"**{ratio(t['median'])}×**" for t in times if "failed" not in t)
        cells.append(f"{text}, {more}" if more else text)
    return cells


def shares(network: dict[str, Any]) -> dict[str, float] | None:
    """Return products, reduction and update, each measured alone, as fractions of a step; and the rest."""
    step, alone = network["seconds"]["nnmpi, 2 ranks"], network["alone"]
    if "failed" in step or any("failed" in part for part in alone.values()):
        return None
    fractions = {name: alone[name]["median"] / step["median"] for name in ("products", "reduction", "update")}
    return {**fractions, "rest": 1 - sum(fractions.values())}


def _parts(network: dict[str, Any]) -> list[str]:
    fractions = shares(network)
    return [f"{share:.0%}" for share in fractions.values()] if fractions else ["failed"] * 4


def _sharing(sharing: dict[str, Any]) -> list[str]:
    ways = list(next(iter(sharing.values()))["seconds"])
    rows = [
        [
            batch,
            *(cell(result["seconds"][way], seconds) for way in ways),
            *(cell(figure, ratio) for figure in result["speed"].values()),
        ]
        for batch, result in sharing.items()
    ]
    head = ["batch of a step", *ways, *(f"speed of {way}" for way in ways[1:])]
    return [
        "### Strong scaling: one batch on 1 and on 2 ranks, 784-256-128-10, one thread for each rank",
        grid(head, rows),
    ]


def _startup(startup: dict[str, Any]) -> list[str]:
    rows = [
        [
            name,
            cell(figure, seconds),
            cell(startup["times nnmpi"][name], ratio) if name in startup["times nnmpi"] else "",
        ]
        for name, figure in startup["seconds"].items()
    ]
    title = "### The whole command: digits, 10 epochs, 2 ranks, wall time"
    return [title, grid(["", "from start to end", "times nnmpi"], rows)]


def _memory(memory: dict[str, Any]) -> list[str]:
    rows = []
    for name, part in memory.items():
        if "failed" in part:
            text = f"failed: {part['failed']}"
        elif "bytes" in part:
            text = f"{part['bytes']:.1f} bytes (slope between {' and '.join(f'{p:,}' for p in part['parameters'])})"
        elif "data" in part:
            text = (
                f"{part['peak']:.0f} MB: {part['beyond its share']:.0f} MB more than its part of {part['data']:.0f} MB"
            )
        else:
            text = f"{part['peak']:.0f} MB"
        rows.append([name + (f", {part['ranks']} ranks" if "ranks" in part else ""), text])
    return ["### Peak memory of a rank", grid(["", "largest over the ranks"], rows)]


def _growth(growth: dict[str, Any]) -> list[str]:
    series = {
        "parameters": ("parameters (2 ranks, batch 64 each)", growth["parameters"]),
        "batch": (f"batch of a rank ({growth['batch, network']}, 2 ranks)", growth["batch"]),
        **{name: (f"ranks ({name})", points) for name, points in growth["ranks"].items()},
    }
    sections = ["### How the time of a step grows"]
    for title, points in series.values():
        rows = [
            [f"{p['at']:,}", *(cell(p[part], seconds) for part in ("step", "limit", "allreduce", "reduction"))]
            for p in points
        ]
        sections.append(grid([title, "step", "limit", "of it Allreduce", "nnmpi's reduction"], rows))
    return sections
