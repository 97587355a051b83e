"""Strong scaling: time of a step with a fixed global batch on 1 and on 2 ranks, one thread each."""

from collections.abc import Callable
from typing import Any

from figures import in_turn, of, ratio
from networks import Network
from ours import step

LAYERS = (784, 256, 128, 10)
BATCHES = (128, 512)


def measure(quick: bool, rounds: int, core: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Return for each batch the seconds of a step on 1 rank and on 2, with both launchers, and the ratios."""
    steps, epochs = (5, 2) if quick else (50, 40)
    return {str(batch): _batch(batch, steps, epochs, rounds, core, say) for batch in BATCHES}


def _batch(batch: int, steps: int, epochs: int, rounds: int, core: int, say: Callable[[str], None]) -> dict[str, Any]:
    whole, half = (Network(LAYERS, samples, steps, epochs) for samples in (batch, batch // 2))
    say(f"{whole} on 1 rank and divided between 2, {rounds} rounds")
    results = in_turn(
        rounds,
        {
            "1 rank": lambda: step(whole, 1, core),
            "2 ranks": lambda: step(half, 2),
            "2 ranks, nnmpi launch": lambda: step(half, 2, launched=True),
        },
        say,
    )
    seconds = {name: of(values, "step") for name, values in results.items()}
    one = seconds["1 rank"]
    return {"seconds": seconds, "speed": {name: ratio(one, two) for name, two in seconds.items() if two is not one}}
