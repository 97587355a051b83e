"""Measure a step between hosts: nnmpi with Open MPI and MPICH, started by `nnmpi launch`, and PyTorch DDP over gloo.

The hosts are namespaces of this machine with rate-limited links (needs root and the Debian packages of
tests/cluster/debian-packages). The programs alternate, with one thread for each rank. All ranks share the cores of this
machine. For comparison the table also shows the time of the same step without reduction, on all ranks at once, and the
time that the bytes of a ring take on a link. Prints a Markdown table, and writes the results of all rounds to a JSON
file.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peers
from networks import Network
from processes import ROOT, Failed, answer, end, variables

sys.path[:0] = [str(ROOT / "tests" / "cluster"), str(ROOT / "tests")]
from hosts import SHARED_CORES, Cluster, Host, why_not  # noqa: E402

NETWORKS = (
    Network((784, 512, 512, 10), 128, 30, 3),
    Network((784, 2048, 2048, 10), 256, 5, 3),
    Network((784, 1024, 1024, 10), 32, 20, 3),
    Network((784, 2048, 2048, 10), 32, 8, 3),  # limited by the link: for --compress
)
LAYOUTS = ((4, 1), (2, 2))  # hosts, ranks on each
RATES = ("1gbit", "10gbit")
ENVIRONMENTS = {"Open MPI": ROOT / ".venv", "MPICH": ROOT / ".venv-mpich"}
HOSTFILE = {"Open MPI": "{} slots={}\n", "MPICH": "{}:{}\n"}
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
PORT = 29500
STARTED = time.monotonic()


def say(text: str) -> None:
    """Print a line of progress with the time since the start."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"{minutes:3}:{seconds:02} {text}", file=sys.stderr, flush=True)


def start(host: Host, directory: Path, *command: str, **more: str) -> "subprocess.Popen[bytes]":
    """Start a command on a host; its output goes to a file in `directory`, whose name is in ``log``."""
    kept = {name: value for name, value in variables().items() if name not in UNSET}
    with (directory / f"out-{host.name}-{time.monotonic_ns()}").open("wb") as out:
        process = subprocess.Popen(
            host.command(*command, cwd=directory),
            env={**kept, **SHARED_CORES, **more},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    process.log = out.name  # type: ignore[attr-defined]
    return process


def finish(started: "list[subprocess.Popen[bytes]]", timeout: float) -> list[str]:
    """Wait for all processes; return their outputs, or raise `Failed`."""
    deadline = time.monotonic() + timeout
    try:
        for process in started:
            if process.wait(max(0.1, deadline - time.monotonic())):
                raise Failed(Path(process.log).read_text(errors="replace")[-400:])  # type: ignore[attr-defined]
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {timeout:.0f} s") from None
    finally:
        for process in started:
            end(process)
    return [Path(process.log).read_text(errors="replace") for process in started]  # type: ignore[attr-defined]


def training(network: Network, ranks: int) -> list[str]:
    """Return the command line of a training on `ranks` ranks; its first epoch is not timed."""
    fan_in, *hidden, classes = network.layers
    rows = -(-network.steps * network.batch * ranks * 5 // 4)  # a fifth is for testing
    flags = ["train", "--data", f"random:{rows}x{fan_in}x{classes}", "--hidden", ",".join(map(str, hidden))]
    flags += ["--batch-size", str(network.batch * ranks), "--epochs", str(network.epochs + 1), "--threads", "1"]
    return [*flags, "--checkpoint-every", "never", "--quiet"]


def seconds_of_step(run: Path) -> float:
    """Return the seconds of a step, the median over the epochs of a run except the first."""
    steps = json.loads((run / "config.json").read_text())["steps_per_epoch"]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return statistics.median(json.loads(line)["seconds"] for line in lines[1:]) / steps


def ours(mpi: str, hosts: list[Host], each: int, network: Network, *flags: str) -> float:
    """Return the seconds of a step of nnmpi."""
    with scratch() as directory:
        (directory / "hostfile").write_text("".join(HOSTFILE[mpi].format(host.name, each) for host in hosts))
        ranks = each * len(hosts)
        launch = [str(ENVIRONMENTS[mpi] / "bin/nnmpi"), "launch", "-n", str(ranks), "--hostfile", "hostfile", "--"]
        job = start(hosts[0], directory, *launch, *training(network, ranks), *flags, "--output", str(directory / "run"))
        finish([job], 300)
        return seconds_of_step(directory / "run")


def ddp(hosts: list[Host], each: int, network: Network) -> float:
    """Return the seconds of a step of PyTorch DDP."""
    with scratch() as directory:
        python, program = str(peers.VENV / "bin/python"), str(peers.PROGRAMS / "pytorch.py")
        flags = ["--layers", network.layers_flag, "--batch", str(network.batch)]
        flags += ["--steps", str(network.steps), "--chunks", str(network.epochs)]
        common = {"WORLD_SIZE": str(each * len(hosts)), "MASTER_ADDR": hosts[0].address, "MASTER_PORT": str(PORT)}
        common |= {"GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"}
        places = [(host, str(i * each + j), str(j)) for i, host in enumerate(hosts) for j in range(each)]
        jobs = [
            start(host, directory, python, program, *flags, RANK=rank, LOCAL_RANK=local, **common)
            for host, rank, local in places
        ]
        return float(answer(finish(jobs, 300)[0])["step"])


def compute(hosts: list[Host], each: int, network: Network) -> float:
    """Return the seconds of a step without reduction: all ranks train separately at once; the median over the ranks."""
    with scratch() as directory:
        runs = [directory / f"run{i}" for i in range(each * len(hosts))]
        program = [str(ENVIRONMENTS["Open MPI"] / "bin/nnmpi"), *training(network, 1)]
        jobs = [start(hosts[i % len(hosts)], directory, *program, "--output", str(run)) for i, run in enumerate(runs)]
        finish(jobs, 300)
        return statistics.median(map(seconds_of_step, runs))


@contextlib.contextmanager
def scratch() -> Any:
    """Create a directory that all hosts share."""
    with tempfile.TemporaryDirectory(dir=SHARED[0]) as directory:
        yield Path(directory)


SHARED: list[Path] = []


def ring_limit(hosts: int, network: Network, rate: str) -> float:
    """Return the seconds that the bytes of a ring take on a link."""
    bits = 32 * network.parameters * 2 * (hosts - 1) / hosts
    return bits / (float(rate.removesuffix("gbit")) * 1e9)


def measure(
    cluster: Cluster, hosts: int, each: int, network: Network, rate: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Run all programs in alternation for several rounds; return the seconds of a step of each program."""
    used = cluster.hosts[:hosts]
    programs: dict[str, Callable[[], float]] = {"compute": lambda: compute(used, each, network)}
    if options.peers:
        programs["PyTorch DDP"] = lambda: ddp(used, each, network)
    for mpi in options.mpi:
        for compress in [None, *options.compress]:
            flags = [*options.train, *(["--compress", compress] if compress else [])]
            programs[f"{mpi}{f', {compress}' if compress else ''}"] = lambda mpi=mpi, flags=flags: ours(
                mpi, used, each, network, *flags
            )
    results: dict[str, Any] = {name: [] for name in programs}
    for number in range(options.rounds):
        for name, program in programs.items():
            cluster.repair()
            cluster.shape(rate, options.delay)
            label = f"{hosts} × {each}, {rate}, {network}, round {number + 1}, {name}"
            try:
                results[name].append(program())
                say(f"{label}: {results[name][-1] * 1e3:.1f} ms")
            except Failed as failure:
                say(f"{label}: failed: {failure}")
    limit = ring_limit(hosts, network, rate)
    return {"hosts": hosts, "each": each, "rate": rate, "network": str(network), "limit": limit, "seconds": results}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table of medians and ratios."""
    names = [name for name in rows[0]["seconds"] if name not in ("compute", "PyTorch DDP")]
    head = ["hosts × ranks, link", "network (samples a rank)", "compute", "ring limit", "PyTorch DDP"]
    for name in names:
        head += [name, "DDP / it", "it / max(compute, limit)"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        medians = {name: statistics.median(values) if values else None for name, values in row["seconds"].items()}
        of_ddp, of_compute = medians.get("PyTorch DDP"), medians["compute"]
        link = f"{row['hosts']} × {row['each']}, {row['rate'].replace('gbit', ' Gbit/s')}"
        cells = [link, row["network"], ms(of_compute), ms(row["limit"]), ms(of_ddp)]
        for name in names:
            step = medians[name]
            limit = max(of_compute or 0, row["limit"] * (0.5 if "16" in name else 1))
            cells += [ms(step), times(of_ddp, step), times(step, limit if "powersgd" not in name else of_compute)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ms(seconds: float | None) -> str:
    """Return the time as ``12.3 ms``."""
    return "" if seconds is None else f"{seconds * 1e3:.3g} ms"


def times(above: float | None, below: float | None) -> str:
    """Return the ratio as ``1.23``."""
    return "" if above is None or not below else f"{above / below:.2f}"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench_hosts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layouts", default="4x1,2x2", help="hosts x ranks on each host  [default: 4x1,2x2]")
    parser.add_argument("--rates", default=",".join(RATES), help="rates of the links  [default: 1gbit,10gbit]")
    parser.add_argument("--delay", default="", help="delay between hosts, such as 200us; needs netem in the kernel")
    parser.add_argument("--networks", default="0,1,2", help="; ".join(f"{i}: {n}" for i, n in enumerate(NETWORKS)))
    parser.add_argument("--mpi", default=",".join(ENVIRONMENTS), help="MPIs to measure  [default: Open MPI,MPICH]")
    parser.add_argument("--compress", default="", help="also measure these compressions, such as fp16,powersgd:4")
    parser.add_argument("--train", default="", help="more flags for nnmpi train, separated by spaces")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs in each round; nnmpi runs one more")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="measure PyTorch DDP, too")
    parser.add_argument("--output", type=Path, default=Path("bench_hosts.json"))
    options = parser.parse_args()
    options.mpi, options.compress = options.mpi.split(","), _words(options.compress)
    options.train = options.train.split()
    return options


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main() -> None:
    """Measure and print the table."""
    options = arguments()
    if reason := why_not():
        sys.exit(f"bench_hosts: {reason}")
    for number in (signal.SIGTERM, signal.SIGHUP):  # so that the finally clauses run
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    for name in UNSET:
        os.environ.pop(name, None)
    if options.peers:
        peers.ensure_environment(say)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        shared = Path(directory) / "shared"
        shared.mkdir()
        SHARED.append(shared)
        with Cluster(Path(directory) / "cluster", [ROOT, Path(sys.base_prefix), shared]) as cluster:
            for layout in _words(options.layouts):
                hosts, each = map(int, layout.split("x"))
                for rate in _words(options.rates):
                    for which in map(int, _words(options.networks)):
                        network = replace(NETWORKS[which], epochs=options.epochs)
                        rows.append(measure(cluster, hosts, each, network, rate, options))
                        options.output.write_text(json.dumps({"rounds": options.rounds, "rows": rows}, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
