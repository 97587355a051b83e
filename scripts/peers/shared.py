"""Shared code of the peers' programs: command line, synthetic data in memory, output line."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version

import numpy as np

LEARNING_RATE, MOMENTUM = 0.01, 0.9
WARM_UP = 2  # chunks that are not timed


def arguments() -> argparse.Namespace:
    """Parse the command line, which is the same for all peers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=lambda text: [int(n) for n in text.split(",")], required=True)
    parser.add_argument("--batch", type=int, required=True, help="samples of a step on this process")
    parser.add_argument("--steps", type=int, required=True, help="steps in a chunk; a chunk is timed as a whole")
    parser.add_argument("--chunks", type=int, required=True, help="number of chunks to time")
    parser.add_argument("--variant", default="", help="settings, separated by +")
    options = parser.parse_args()
    options.variant = options.variant.split("+")
    return options


def made_up(layers: list[int], samples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return random features (samples, layers[0]) in float32 and class labels (samples,) from 0 to layers[-1] - 1."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((samples, layers[0]), dtype=np.float32)
    return x, generator.integers(layers[-1], size=samples)


def time_chunks(chunk: Callable[[], object], options: argparse.Namespace) -> list[float]:
    """Return the seconds of a step in each chunk; `chunk` runs ``options.steps`` steps and waits for their end."""
    seconds = []
    for _ in range(WARM_UP + options.chunks):
        started = time.perf_counter()
        chunk()
        seconds.append((time.perf_counter() - started) / options.steps)
    return seconds[WARM_UP:]


def answer(seconds: Iterable[float], packages: Iterable[str], **more: object) -> None:
    """Print the line of JSON that scripts/bench reads."""
    versions = {name: version(name) for name in packages}
    line = {"step": statistics.median(seconds), "versions": {"python": sys.version.split()[0], **versions}, **more}
    print(json.dumps(line), flush=True)
