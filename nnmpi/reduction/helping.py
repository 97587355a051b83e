"""The native reduction on one host, before which ranks that are done help those that are not.

All ranks wait for the slowest in each step, and which one that is changes: a core has a neighbour, or two ranks have
one core. The last product of a step is the gradient of the first layer. Where that is large each rank offers it in
pieces of its rows, in memory that all ranks see. It does them one after the other itself; those who have done their own
begin with the last one. Who does a piece makes no difference: the pieces are always the same, and so are their bits.
"""

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.errors import RunError
from nnmpi.mpi.barrier import flags_will_do, patience
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.reduction.claims import Claims, claims
from nnmpi.reduction.divided import Divided
from nnmpi.reduction.one_host import Slices
from nnmpi.reduction.protocol import Array

Call = Callable[[], object]
Product = Callable[[Array, Array, Array], Call | None]  # of (a, b, total): the call of total += a @ b

HELPED = ", ranks help each other"
PIECES = 3  # of a product at most: a half, and two quarters; each rearranges the other factor anew
NEAR = 4  # ranks that a rank helps, the next ones: all that it writes to counts as its memory
LEAST = 2_000_000  # multiplications of a piece, some 50 µs: fewer are not worth the asking
ALIKE = 8  # rows: BLAS's kernels go through so many at once


class Seen(NamedTuple):
    """An array that others see; each rank has one like it at the same place."""

    rows: Array  # the memory of all ranks, a row for each
    start: int  # where in its row it begins, in bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, rank: int) -> Array:
        """That of `rank`."""
        return np.ndarray(self.shape, self.rows.dtype, self.rows[rank], self.start, self.strides)


class Helping:
    """`Slices` or `Divided`, with a product in the vectors that ranks do for each other.

    The network writes the product's factors into what `allocate` gives, and instead of multiplying calls `offer`; the
    rest is done by `reduce`.
    """

    by_shard = False
    ready = None

    def __init__(self, world: World, slices: Slices | Divided, claimed: Claims, told: Array, product: Product) -> None:
        self.name = f"{slices.name}{HELPED}"
        self.blocks, self.vectors = slices.blocks, slices.vectors
        self._world, self._product, self._claims, self._reduce = world, product, claimed, slices.reduce
        self._rows = [slices.rows]  # of all that others see
        # of each rank: the step whose product is on offer; where its first factor begins, and its samples; the step in
        # which all its pieces have been begun
        self._told = [told[rank, 0, :4].data for rank in range(world.size)]
        self._offered = (0, 0)
        self._step = 0
        self._seen: tuple[Seen, Seen, Seen] | None = None
        self._pieces: dict[tuple[int, int, int], list[Call]] = {}
        self._others = [(world.rank + i) % world.size for i in range(1, min(world.size, 1 + NEAR))]
        self._patience, self._let_others = patience(world), os.sched_yield
        timed = world.here.timed
        self._do_own_pieces = timed(self._do_own, "gradient")
        self._wait_for_one = timed(self._wait, "waiting")
        self._help_one = timed(self._help, "help")

    def allocate(self, length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Zeros that other ranks see, at least as many on each as it asks for; all ranks take part."""
        rows = share(self._world, 1, self._world.largest(length), np.dtype(dtype).name)
        if rows is None:
            raise RunError(
                f"no memory for {length} numbers that all ranks see; --bucket-mb 0 does without", shared=True
            )
        self._rows.append(rows[:, 0])
        mine: npt.NDArray[Any] = rows[self._world.rank, 0, :length]
        return mine

    def offer(self, a: Array, b: Array, total: Array) -> Call:
        """The call after which ``total += a @ b`` is on offer, until the next `reduce`; `total` holds zeros.

        All are views of what ranks share: `a` of shape (1 + fan_in, samples), `b` (samples, fan_out) and `total`
        (1 + fan_in, fan_out) in the vector. The only thing that may be another from call to call and from rank to rank
        is where `a` begins, and how many samples there are.
        """
        self._seen = self._find(a), self._find(b), self._find(total)
        offered = self._seen[0].start, a.shape[1]
        self._pieces_of(self._world.rank, *offered)
        return partial(setattr, self, "_offered", offered)

    def reduce(self) -> None:
        """Do what is on offer, together, and bring the sums over all ranks to ``vectors[0]``."""
        self._step += 1
        self._do_own_pieces()
        here, others = self._world.here, self._others.copy()
        here.collectives += 1
        while others:
            rank = self._wait_for_one(others)
            others.remove(rank)
            if self._told[rank][3] != self._step:
                self._help_one(rank)
        here.collectives += 1
        self._reduce()

    def _do_own(self) -> None:
        rank, told = self._world.rank, self._told[self._world.rank]
        pieces = self._pieces_of(rank, *self._offered)
        told[1], told[2] = self._offered
        self._claims.offer(len(pieces))
        told[0] = self._step  # from here on others look
        for i, piece in enumerate(pieces):
            if self._claims.claim(rank, i):
                piece()
        told[3] = self._step

    def _wait(self, others: list[int]) -> int:
        """For one of `others` that has its product of this step on offer."""
        looks = 0
        while True:
            for rank in others:
                if self._told[rank][0] == self._step:
                    return rank
            if looks == self._patience:
                self._let_others()
            else:
                looks += 1

    def _help(self, rank: int) -> None:
        """Do the pieces of `rank` that nobody has begun, from the last one on."""
        told = self._told[rank]
        pieces = self._pieces_of(rank, told[1], told[2])
        for i in range(len(pieces) - 1, -1, -1):
            if self._claims.claim(rank, i):
                pieces[i]()

    def _pieces_of(self, rank: int, start: int, samples: int) -> list[Call]:
        """The calls that make up a product of `rank`; the same on all ranks."""
        key = rank, start, samples
        if key not in self._pieces:
            assert self._seen
            a, b, total = self._seen
            length, width = total.shape
            a, b = a._replace(start=start, shape=(length, samples)), b._replace(shape=(samples, width))
            self._pieces[key] = self._cut(a.of(rank), b.of(rank), total.of(rank))
        return self._pieces[key]

    def _cut(self, a: Array, b: Array, total: Array) -> list[Call]:
        ends, length = [0], len(a)
        while ends[-1] < length:
            half = -(-(length - ends[-1]) // (2 * ALIKE)) * ALIKE
            is_last = len(ends) == PIECES or half * a.shape[1] * b.shape[1] < LEAST
            ends.append(length if is_last else min(length, ends[-1] + half))
        parts = [(a[i:j], b, total[i:j]) for i, j in pairwise(ends)]
        return [self._product(*part) or partial(np.matmul, *part) for part in parts]

    def _find(self, array: Array) -> Seen:
        for rows in self._rows:
            start = array.ctypes.data - rows[self._world.rank].ctypes.data
            if 0 <= start < rows[0].nbytes:
                return Seen(rows, start, array.shape, array.strides)
        raise ValueError("other ranks do not see this array")


def helping(world: World, slices: Slices | Divided, product: Product, wanted: bool) -> Helping | None:
    """`slices` with help, if all ranks have `wanted` it and can; all of them take part.

    Not where survivors go on after a death, either: a rank might have died in the middle of a piece of another's.
    """
    if world.sum_exactly(not (wanted and flags_will_do(world))):
        return None
    claimed = claims(world, PIECES)
    told = share(world, 1, 4, "int64") if claimed else None
    return None if claimed is None or told is None else Helping(world, slices, claimed, told, product)
