"""Ranks on pretended hosts (HOSTS_OF_RANKS) add up vectors: ``add_up_over_hosts.py``.

Rank 0 prints in JSON, for each rank and each case, the name of the reduction, or what was wrong: the sums did not go
over hosts, were wrong, or were not the same on all ranks.
"""

import hashlib
import json
import sys

import numpy as np
import train_on_pretended_hosts

from nnmpi.commands.job import run
from nnmpi.mpi.world import World
from nnmpi.reduction.hosts import PART, Hosts, over_hosts

STEPS = 5
LAYERS = ([3], [1000, 50], [PART, 10], [150_000, PART - 4, 70_001])
WIRE_FORMATS = (None, "fp16", "bf16")
CASES = [
    (layers, dtype, wire_format)
    for layers in LAYERS
    for dtype in ("float32", "float64")
    for wire_format in WIRE_FORMATS
]
ROUNDING = {None: 0.0, "fp16": 2.0**-11, "bf16": 2.0**-8}


def case(world: World, layers: list[int], dtype: str, wire_format: str | None) -> str:
    length = sum(layers) + 4
    reduction = over_hosts(world, length, dtype, wire_format)
    if reduction is None:
        return "not over hosts"
    assert type(reduction) is Hosts
    (vector,) = reduction.vectors
    own = np.arange(length) % 1000
    ranks, numbers = world.size, np.arange(world.size).sum()
    unit = 1 / 7 if wire_format else 1  # integers / 7 are rounded in 16 bits; some integers are not
    for step in range(STEPS):  # a step must not mix with the next
        vector[-4:] = own[-4:] + 1000 * world.rank + step
        end = length - 4
        for layer in range(len(layers) - 1, -1, -1):
            part = slice(end - layers[layer], end)
            vector[part] = unit * (own[part] + 1000 * world.rank + step)
            end = part.start
            reduction.ready(end)
        reduction.reduce()
        exact = np.float64(ranks * (own + step) + 1000 * numbers)
        exact[:-4] *= unit
        error = np.abs(vector - exact)
        if error[-4:].any() or error.max() > ROUNDING[wire_format] * (ranks + 1) * exact.max():
            return f"wrong in step {step}: {error.max()}"
        if wire_format and layers[0] > 10 and not error.any():
            return "not rounded"
        digests = world.gather_bytes(hashlib.sha256(vector).digest())
        if len(set(digests)) > 1:
            return f"not the same everywhere in step {step}"
    return reduction.name


def work(world: World) -> None:
    world.addresses.meet()
    results = [case(world, *arguments) for arguments in CASES]
    results_of_ranks = [json.loads(text) for text in world.gather_bytes(json.dumps(results).encode())]
    if world.rank == 0:
        print(json.dumps(results_of_ranks))


train_on_pretended_hosts.pretend()
sys.exit(run(work))
