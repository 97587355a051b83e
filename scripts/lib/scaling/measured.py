"""Measurements: steps between emulated hosts, steps of one rank, and steps to an accuracy."""

import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import between_hosts as between
from between_hosts import Cluster, say
from networks import Network
from processes import ROOT, Failed

CORES = 2  # of this machine; all ranks share them
SMALL = Network((784, 512, 512, 10), 128, 20, 3)
LARGE = Network((784, 1024, 1024, 10), 128, 12, 3)
WIDE = Network((784, 2048, 512, 10), 64, 12, 3)

# hosts, ranks on each host, Gbit/s, network: settings for the fit, and settings to predict
TO_FIT = (
    *((1, 2, 10, SMALL), (1, 4, 10, LARGE), (2, 1, 1, SMALL), (2, 1, 10, LARGE), (4, 1, 1, LARGE), (4, 1, 10, SMALL)),
    *((2, 2, 1, LARGE), (2, 2, 10, SMALL), (3, 1, 2.5, SMALL), (4, 2, 1, SMALL)),
)
TO_CHECK = (
    *((1, 2, 10, LARGE), (2, 1, 1, WIDE), (4, 1, 2.5, WIDE), (2, 2, 1, WIDE)),
    *((1, 2, 10, WIDE), (1, 3, 10, SMALL), (2, 1, 0.5, LARGE), (2, 1, 2.5, WIDE), (2, 1, 5, SMALL), (3, 1, 1, WIDE)),
    *((3, 1, 5, LARGE), (3, 2, 1, SMALL), (4, 1, 0.5, SMALL), (4, 1, 2.5, LARGE), (4, 1, 5, WIDE), (2, 2, 2.5, WIDE)),
    *((2, 3, 1, LARGE), (4, 2, 5, LARGE)),
)
BATCHES = (8, 32, 128, 512)  # samples of a step on one rank


def steps(rounds: int) -> dict[str, Any]:
    """Return the seconds of steps: between hosts, the median over the rounds; on one rank, for several batches."""
    with tempfile.TemporaryDirectory() as directory:
        shared = Path(directory) / "shared"
        shared.mkdir()
        between.SHARED[:] = [shared]
        rows = [
            {"hosts": h, "each": r, "gbit": g, "layers": n.layers, "batch": n.batch, "fit": i < len(TO_FIT), "all": []}
            for i, (h, r, g, n) in enumerate(TO_FIT + TO_CHECK)
        ]
        with Cluster(Path(directory) / "cluster", [ROOT, Path(sys.base_prefix), shared]) as cluster:
            for number in range(rounds):
                for row, (hosts, each, gbit, network) in zip(rows, TO_FIT + TO_CHECK, strict=True):
                    row["all"].append(_step(cluster, hosts, each, gbit, network))
                    say(f"round {number + 1}: {hosts} × {each}, {gbit} Gbit/s, {network}: {row['all'][-1]}")
            alone = {
                str(network): {b: _alone(cluster, replace(network, batch=b)) for b in (*BATCHES, network.batch)}
                for network in (SMALL, LARGE, WIDE)
            }
    for row in rows:
        row["seconds"] = statistics.median([s for s in row.pop("all") if s is not None] or [float("nan")])
    return {"steps": rows, "alone": alone, "parameters": {str(n): n.parameters for n in (SMALL, LARGE, WIDE)}}


def _step(cluster: Cluster, hosts: int, each: int, gbit: float, network: Network) -> float | None:
    cluster.repair()
    cluster.shape(f"{int(gbit * 1000)}mbit")
    try:
        return between.ours("Open MPI", cluster.hosts[:hosts], each, network)
    except Failed as failure:
        say(f"failed: {failure}")
        return None


def _alone(cluster: Cluster, network: Network) -> float:
    """Return the seconds of a step of one rank while the other cores do the same: the median of three."""
    seconds = statistics.median(between.compute(cluster.hosts[:CORES], 1, network) for _ in range(3))
    say(f"1 rank, {network}: {seconds * 1e3:.2f} ms")
    return seconds


def epochs_to_accuracy(accuracy: float) -> dict[int, int]:
    """Return the steps to this test accuracy on digits with 64-128-10, for each batch: the best of several rates."""
    import nnmpi
    from nnmpi.errors import RunError

    fewest_steps: dict[int, int] = {}
    for batch in (16, 32, 64, 128, 256, 512):
        best = None
        for rate in (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4):
            try:
                result = nnmpi.train("digits", hidden=(128,), batch_size=batch, learning_rate=rate, epochs=60)
            except RunError:  # the rate is too high
                continue
            reached = [m["step"] for m in result.metrics if m["test_accuracy"] >= accuracy]
            best = min([*reached[:1], *([best] if best else [])], default=None)
        if best:
            fewest_steps[batch] = best
            say(f"digits, batch {batch}: {best} steps to {accuracy}")
    return fewest_steps
