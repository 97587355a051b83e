"""Ranks help each other with a product: ``helpful.py [foreign|unwanted|refused]``.

``foreign``: on another processor; ``unwanted``: rank 1 does not want it; ``refused``: its C library shares no
semaphores. Rank 0 prints in JSON for each rank whether ranks helped each other at all, whether each piece was done
once in each step, whether ranks that were slow were helped, whether the sums were right, and whether they had the same
bits whoever was slow.
"""

import ctypes
import json
import platform
import sys
import time
from functools import partial
from typing import Any

import numpy as np

import nnmpi.reduction.claims
from nnmpi.commands.job import run
from nnmpi.environment import set_threads
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.nn.blas import add_product
from nnmpi.reduction.helping import PIECES, Array, Call, helping
from nnmpi.reduction.one_host import Slices

ROWS, WIDTH, SAMPLES, REST = 250, 256, 300, 7
FACTORS = 3  # sets of factors, each with other samples at another place
ROOM = SAMPLES + 2 * FACTORS


def disturb(world: World, how: str) -> None:
    if how == "foreign":
        platform.machine = lambda: "aarch64"
    if how == "refused" and world.rank == 1:
        library = type("library", (), {"sem_init": staticmethod(lambda *_: -1)})
        shams = {**vars(ctypes), "CDLL": lambda _: library}
        nnmpi.reduction.claims.ctypes = type("ctypes", (), shams)  # type: ignore[attr-defined]


class Pieces:
    """Products that count by whom they were done, and take their time on a rank that is slow."""

    def __init__(self, world: World, memory: Array) -> None:
        self._world, self._memory = world, memory
        self.own = self.of_others = 0
        self.pause = 0.0

    def product(self, a: Array, b: Array, total: Array) -> Call:
        multiply = add_product(a, b, total)
        assert multiply
        return partial(self._do, multiply, np.shares_memory(total, self._memory[self._world.rank]))

    def _do(self, multiply: Call, own: bool) -> None:
        self.own += own
        self.of_others += not own
        if own:
            time.sleep(self.pause)
        multiply()


def factors(which: int, rank: int) -> tuple[Array, Array]:
    """Some numbers, of whose products the last digits depend on the order of adding up."""
    generator = np.random.default_rng([which, rank])
    samples = SAMPLES - 3 * which - rank % 2
    return generator.standard_normal((samples, ROWS)), generator.standard_normal((samples, WIDTH))


def work(world: World) -> None:
    disturb(world, "".join(sys.argv[1:]))
    set_threads(1)
    length = ROWS * WIDTH + REST
    memory = share(world, 1, length, "float64")
    assert memory is not None
    pieces = Pieces(world, memory)
    unwanted = "unwanted" in sys.argv and world.rank == 1
    helped = helping(world, Slices(world, memory, length), pieces.product, not unwanted)
    found: list[Any] = [helped is not None]
    if helped:
        a = helped.allocate(ROOM * ROWS, "float64").reshape(ROOM, ROWS)
        b = helped.allocate(ROOM * WIDTH, "float64").reshape(ROOM, WIDTH)
        vector = helped.vectors[0]
        total = vector[: ROWS * WIDTH].reshape(ROWS, WIDTH)
        bits: list[set[bytes]] = [set() for _ in range(FACTORS)]
        once = right = True
        for step in range(FACTORS * 2 * world.size):
            which, slow = step % FACTORS, step // FACTORS % world.size
            pieces.pause = 0.005 if world.rank == slow else 0
            pieces.own, others = 0, pieces.of_others
            vector[:] = 0
            x, y = factors(which, world.rank)
            start = 2 * which + world.rank % 2
            a[start : start + len(x)], b[: len(y)] = x, y
            helped.offer(a[start : start + len(x)].T, b[: len(y)], total)()
            vector[-REST:] = world.rank
            helped.reduce()
            done = world.sum_exactly(pieces.own + pieces.of_others - others)
            once = once and done == world.size * PIECES
            expected = sum(p.T @ q for p, q in (factors(which, rank) for rank in range(world.size)))
            right = right and np.allclose(total, expected, rtol=1e-10, atol=1e-10)
            right = right and bool((vector[-REST:] == world.size * (world.size - 1) / 2).all())
            bits[which].add(vector.tobytes())
        kindness = world.sum_exactly(pieces.of_others)
        found += [once, kindness > 2 * FACTORS * world.size, right, all(len(b) == 1 for b in bits)]
    everywhere = [json.loads(text) for text in world.gather_bytes(json.dumps(found).encode())]
    if world.rank == 0:
        print(json.dumps(everywhere))


sys.exit(run(work))
