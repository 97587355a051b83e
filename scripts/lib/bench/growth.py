"""Time of a step, and its limit, over the number of parameters, the batch and the number of ranks."""

import os
from collections.abc import Callable
from typing import Any

from figures import in_turn, of, total
from networks import Network
from ours import limit, step

WIDTHS = (8, 22, 64, 128, 256, 512, 1024, 2048, 3072)  # units of each of two hidden layers: 10³ to 10⁷ parameters
BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
RANKS = (1, 2, 3, 4, 6, 8)
SECONDS = 1.2  # length of each measurement


def measure(quick: bool, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return three series of points; each point alternates `rounds` measurements of nnmpi and of the limit."""
    few = 1 if quick else None  # number of points of each series
    seconds = SECONDS / 4 if quick else SECONDS
    middle = (64, 64, 64, 10) if quick else (784, 512, 512, 10)

    def series(points: list[tuple[int, Network, int]]) -> list[dict[str, Any]]:
        return [_point(at, network.lasting(seconds, ranks), ranks, rounds, say) for at, network, ranks in points]

    widths = [Network((64, width, width, 10), 64, 100, 60) for width in WIDTHS[:few]]
    batches = [Network(middle, batch, 100, 60) for batch in BATCHES[:few]]
    small, large = Network((64, 128, 64, 10), 64, 100, 60), Network(middle, 128, 20, 12)
    nets = (small,) if quick else (small, large)
    return {
        "parameters": series([(network.parameters, network, 2) for network in widths]),
        "batch": series([(network.batch, network, 2) for network in batches]),
        "batch, network": "-".join(map(str, middle)),
        "ranks": {str(net): series([(ranks, net, ranks) for ranks in RANKS[:few]]) for net in nets},
    }


def _point(at: int, network: Network, ranks: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"growth: {network}, {ranks} rank{'s' * (ranks > 1)}, {rounds} rounds")
    core = max(os.sched_getaffinity(0)) if ranks == 1 else None  # a single rank gets one core, too
    ways = {"step": lambda: step(network, ranks, core), "limit": lambda: limit(network, ranks, core)}
    results = in_turn(rounds, ways, say)
    products, allreduce, reduction = (of(results["limit"], part) for part in ("products", "allreduce", "reduction"))
    parts = {"limit": total(products, allreduce), "allreduce": allreduce, "reduction": reduction}
    return {"at": at, "step": of(results["step"], "step"), **parts}
