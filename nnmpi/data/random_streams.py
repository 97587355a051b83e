"""Random numbers that depend on what they are for, never on who draws them or when.

Philox is counter-based: its output is a function of a key and a counter (Salmon et al. 2011). The key holds the seed
and the purpose, the upper three words of the counter hold epoch, step and shard. Each stream has 2⁶⁴ blocks.
"""

from enum import IntEnum

import numpy as np

EMPTY_BUFFER = np.zeros(4, np.uint64)  # Philox makes four numbers at a time


class Purpose(IntEnum):
    """What a stream of random numbers is for. Never change or reuse a value: it decides what a seed means."""

    PARAMETERS = 1
    ORDER = 2
    DROPOUT = 3
    AUGMENTATION = 4
    SYNTHETIC = 5
    AUGMENTED_SCALER = 6
    PART = 7
    COMPRESSION = 8


def stream(
    seed: int,
    purpose: Purpose,
    epoch: int = 0,
    step: int = 0,
    shard: int = 0,
    *,
    reuse: np.random.Generator | None = None,
) -> np.random.Generator:
    """Return the generator for one purpose at one epoch, step and shard; a seed is a whole number below 2⁶⁴.

    `reuse` is a generator that is no longer needed. Resetting it takes 2 µs, making a new one takes 8 µs.
    """
    key = np.array([seed, purpose], np.uint64)
    counter = np.array([0, shard, step, epoch], np.uint64)
    if reuse is None:
        return np.random.Generator(np.random.Philox(key=key, counter=counter))
    position = {"counter": counter, "key": key}
    empty = {"buffer": EMPTY_BUFFER, "buffer_pos": len(EMPTY_BUFFER), "has_uint32": 0, "uinteger": 0}
    reuse.bit_generator.state = {"bit_generator": "Philox", "state": position, **empty}
    return reuse
