"""Compare nnmpi with the limit of the hardware and with its peers, in 40 to 90 minutes on 2 cores.

Writes bench.json, bench.md and pictures to a directory. All programs alternate (A B C, A B C, …), so that other load on
the machine affects all of them; still, run nothing else meanwhile. The first run installs the peers (PyTorch, JAX,
scikit-learn, Keras) into .venv-peers. Ctrl-C ends all processes that were started.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import growth
import memory
import networks
import ours
import peers
import sharing
import startup
import steps
import table
from machine import commit, machine
from processes import ROOT, Failed

PARTS = ("steps", "sharing", "startup", "memory", "growth")
ROUNDS = 7  # on shared cores a ratio varies by a quarter between rounds, the median of a few rounds by a tenth
PICTURES = {
    "steps": "Time of a step over the limit on 2 ranks, and over that of nnmpi on one core",
    "shares": "Matrix products, reduction, update and the rest as parts of a step's time",
    "scaling": "Time of a step on 1 and on 2 ranks, and on more ranks than cores",
    "growth": "Time of a step over the number of parameters and over the batch",
}
STARTED = time.monotonic()


def main() -> None:
    """Measure the selected parts, and write the results after each of them."""
    options = arguments()
    # On these signals the finally clauses run, which end the child processes.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    rounds = options.rounds or (2 if options.quick else ROUNDS)
    core = max(os.sched_getaffinity(0))  # for processes on one core; the first core has most of the system's work
    results: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": command(options),
        "rounds": rounds,
        "machine": machine(),
    }
    with_peers = options.peers
    if with_peers and {"steps", "startup"} & set(options.only):
        try:
            peers.ensure_environment(say)
        except Failed as failure:
            say(f"no peers: {failure}")
            results["peers"] = f"failed: {failure}"
            with_peers = False
    try:
        results["nnmpi"] = about()
    except Failed as failure:
        sys.exit(f"bench: nnmpi does not train: {failure}")

    options.output.mkdir(parents=True, exist_ok=True)
    sizes = networks.QUICK if options.quick else networks.TABLE
    measures = {
        "steps": lambda: steps.measure(sizes, rounds, chosen(options) if with_peers else (), core, say),
        "sharing": lambda: sharing.measure(options.quick, rounds, core, say),
        "startup": lambda: startup.measure(rounds, with_peers, say),
        "memory": lambda: memory.measure(options.quick, say),
        "growth": lambda: growth.measure(options.quick, 1 if options.quick else 3, say),
    }
    for part in options.only:
        results[part] = measures[part]()
        results["seconds"] = round(time.monotonic() - STARTED)
        (options.output / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
        (options.output / "bench.md").write_text(table.markdown(results))
    draw(options.output)
    if options.docs:
        publish(options.output)
    print((options.output / "bench.md").read_text())
    say(f"written to {options.output}/")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes: a check that it works")
    parser.add_argument("--only", type=_parts, default=PARTS, help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help=f"for steps, sharing, startup  [default: {ROUNDS}; 2 if quick]")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="compare with the peers")
    parser.add_argument("--against", help="names of the peers to measure, separated by semicolons")
    parser.add_argument("--docs", action="store_true", help="also put tables and pictures into docs/")
    parser.add_argument("--output", type=Path, default=ROOT / "bench", help="output directory  [default: bench/]")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> tuple[peers.Peer, ...]:
    """Return the selected peers."""
    names = (options.against or ";".join(peer.name for peer in peers.PEERS)).split(";")
    unknown = set(names) - {peer.name for peer in peers.PEERS}
    if unknown:
        sys.exit(f"bench: --against {'; '.join(unknown)}: allowed are {'; '.join(peer.name for peer in peers.PEERS)}")
    return tuple(peer for peer in peers.PEERS if peer.name in names)


def command(options: argparse.Namespace) -> str:
    """Return the command that repeats this measurement, without its output directory."""
    flags = {"--quick": options.quick, "--no-peers": not options.peers, f"--rounds {options.rounds}": options.rounds}
    flags[f'--against "{options.against}"'] = options.against
    flags[f"--only {','.join(options.only)}"] = list(options.only) != list(PARTS)
    return " ".join(["scripts/bench", *(flag for flag, given in flags.items() if given)])


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text}; allowed are {', '.join(PARTS)}")
    return [part for part in PARTS if part in names]


def about() -> dict[str, Any]:
    """Return the MPI, versions and BLAS that nnmpi reports."""
    config = ours.step(networks.Network((4, 4, 2), 8, 4, 2), 2)["config"]
    return {"mpi": config["mpi"], "versions": config["versions"], "blas": config["bits"]["blas"]}


def draw(directory: Path) -> None:
    """Draw the pictures, if matplotlib is installed."""
    try:
        import plots
    except ImportError as error:
        say(f"no pictures: {error}; install matplotlib with pip install 'nnmpi[plots]'")
        return
    plots.draw(json.loads((directory / "bench.json").read_text()), directory)


def publish(directory: Path) -> None:
    """Replace the pictures and the tables at the end of docs/benchmarks.md."""
    page = ROOT / "docs" / "benchmarks.md"
    method, heading, _ = page.read_text().partition("## Results\n")
    pictures = [picture for name in PICTURES if (picture := directory / f"{name}.png").exists()]
    for picture in pictures:
        shutil.copyfile(picture, page.with_name(f"bench-{picture.name}"))
    shown = [f"![{PICTURES[p.stem]}](bench-{p.name})" for p in pictures]
    page.write_text("\n\n".join([method + heading.rstrip(), *shown, (directory / "bench.md").read_text()]))


def say(text: str) -> None:
    """Print a line of progress with the time since the start."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"{minutes:3}:{seconds:02} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
