"""Time of a step of nnmpi, of its limit and of its peers, measured in alternation."""

from collections.abc import Callable
from typing import Any

from figures import in_turn, of, ratio, total
from networks import Network
from ours import limit, step
from peers import Peer

Say = Callable[[str], None]


def measure(networks: tuple[Network, ...], rounds: int, peers: tuple[Peer, ...], core: int, say: Say) -> dict[str, Any]:
    """Measure the networks one after the other; for each network all programs alternate."""
    return {str(network): _network(network, rounds, peers, core, say) for network in networks}


def _network(network: Network, rounds: int, peers: tuple[Peer, ...], core: int, say: Say) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    measurements: dict[str, Callable[[], Any]] = {
        "nnmpi, 2 ranks": lambda: step(network, 2),
        "nnmpi launch, 2 ranks": lambda: step(network, 2, launched=True),
        "limit": lambda: limit(network),
        "nnmpi, 1 rank": lambda: step(network, 1, core),
    }
    for peer in peers:
        variant, tried = peer.best(network, core, say)
        settings[peer.name] = {"used": variant, "tried": tried}
        measurements[peer.name] = lambda peer=peer, variant=variant: peer.step(network, variant, core)
    say(f"{network}: {len(measurements)} measurements, {rounds} rounds")
    results = in_turn(rounds, measurements, say)

    parts = ("products", "allreduce", "reduction", "update", "together", "updating")
    alone = {part: of(results["limit"], part) for part in parts}
    steps = {name: of(results[name], "step") for name in measurements if name != "limit"}
    bound = total(alone["products"], alone["allreduce"])
    two, one = steps["nnmpi, 2 ranks"], steps["nnmpi, 1 rank"]
    launched = steps["nnmpi launch, 2 ranks"]
    result: dict[str, Any] = {
        "network": {"layers": network.layers, "batch": network.batch, "parameters": network.parameters},
        "seconds": steps | {"limit": bound},
        "alone": alone,
        "share of the limit": ratio(bound, two),
        "share in one loop": ratio(alone["together"], two),
        "share in one loop with the update": ratio(alone["updating"], two),
        "weak scaling": {"nnmpi": ratio(one, two)},
        "times nnmpi": {peer.name: ratio(steps[peer.name], two if peer.processes == 2 else one) for peer in peers},
        "times nnmpi launch": {peer.name: ratio(steps[peer.name], launched) for peer in peers if peer.processes == 2},
        "fault tolerance": ratio(launched, two),
        "settings": settings,
        "versions": {},
    }
    if {"PyTorch", "PyTorch DDP"} <= set(steps):
        result["weak scaling"]["PyTorch DDP"] = ratio(steps["PyTorch"], steps["PyTorch DDP"])
    for values in results.values():
        for value in values if isinstance(values, list) else []:
            result["versions"] |= (value or {}).get("versions", {})
    return result
