"""The native reduction over several hosts: within a host where the vectors lie, between hosts in rings.

Ranks of one host have their vectors in shared memory, as in `one_host`. The vector is cut into as many *lanes* as the
host with the fewest ranks has; in each host one rank carries a lane: it adds up its part of the vectors of the host,
and with those who carry the same lane elsewhere makes a ring (`ring`). What comes back it writes to all vectors of its
host. So ``2 (H-1)/H`` of a vector goes into and out of each of ``H`` hosts, however many ranks each has.

Layers that are done travel while earlier ones still go backward: a rank says in a flag how far it has come, and moves
things on whenever it is told of a layer.
"""

import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from nnmpi.mpi.barrier import CHECK_EVERY, can_use_flags, check_alive
from nnmpi.mpi.shared_memory import Flags, copies, share, share_flags
from nnmpi.mpi.start import MESSAGE
from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.compress import Codec, Exact, Halved
from nnmpi.reduction.one_host import slice_of
from nnmpi.reduction.protocol import Block
from nnmpi.reduction.ring import Ring
from nnmpi.reduction.step_vector import TAIL

PIECE = MESSAGE  # bytes of a piece at most: it is added up in the cache
PART = 1 << 18  # numbers that go on their way together
ATOM = 1 << 10  # numbers that are not cut any more


def over_hosts(world: World, length: int, dtype: str, form: str | None) -> "Hosts | None":
    """The reduction over the hosts of `world`; None on all ranks where there is one host, or it would not be right.

    `form` is that in which numbers travel, ``fp16`` or ``bf16``, or None, as they are. Where ranks of a host cannot
    share memory, MPI knows better what to do than a ring of all ranks; for the sake of `form` it is that all the same.
    """
    hosts = world.addresses.ranks_of_machines()
    if len(hosts) == 1:
        return None
    rows: Array | None = None
    flags: Flags | None = None
    if max(map(len, hosts)) > 1:
        here = next(ranks for ranks in hosts if world.rank in ranks)
        if not world.sum_exactly(not can_use_flags()):
            rows, flags = share(world, 1, length, dtype, here), share_flags(world, 2, here)
        if rows is None or flags is None:
            if not form:
                return None
            hosts, rows = [[rank] for rank in range(world.size)], None
    if rows is None or flags is None:
        rows, flags = np.zeros((1, 1, length), dtype), np.zeros((1, 2), np.int64)
    return Hosts(world, hosts, rows[:, 0, :length], flags, parts_of(length), form)


def parts_of(length: int) -> list[slice]:
    """The parts of a vector, from its end to its beginning, in which it becomes ready: alike but for one."""
    ends = [*range(length, max(PART // 2, 1), -PART), 0] if length > PART // 2 else [length, 0]
    return [slice(start, end) for end, start in pairwise(ends)]


def cut(part: slice, hosts: int, itemsize: int) -> list[slice]:
    """Pieces of `part`: a multiple of the number of hosts, so that as many begin at each; alike but for the last."""
    size = part.stop - part.start
    count = hosts * -(-size // (hosts * (PIECE // itemsize))) if size > ATOM else 1
    width = -(-size // count) if size else 1
    return [slice(start, min(start + width, part.stop)) for start in range(part.start, part.stop, width)]


def lane(part: slice, number: int, lanes: int, itemsize: int) -> slice:
    """What lane `number` has of `part`."""
    own = slice_of(number, lanes, part.stop - part.start, itemsize)
    return slice(part.start + own.start, part.start + own.stop)


class Hosts:
    """One batch a rank; sums in shared memory, then in rings between hosts.

    Parameters
    ----------
    world
        The ranks.
    hosts
        Those of each host.
    rows
        The vectors of the ranks of this host, shape (ranks, length).
    flags
        Zeros that these ranks see, shape (ranks, 2): how many parts a rank has had ready, how many steps it has ended.
    parts
        The parts of the vector, in the order in which they are ready: from its end to its beginning.
    form
        What numbers travel in, see `over_hosts`.
    """

    by_shard = False

    def __init__(
        self, world: World, hosts: list[list[int]], rows: Array, flags: Flags, parts: list[slice], form: str | None
    ) -> None:
        self._world = world
        here = next(ranks for ranks in hosts if world.rank in ranks)
        at, lanes = here.index(world.rank), min(map(len, hosts))
        shared = "shared memory in each host, " if max(map(len, hosts)) > 1 else ""
        self.name = f"{shared}rings between hosts{f', sent as {form}' if form else ''}"
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [rows[at]]
        self._starts = [part.start for part in parts]
        self._mine, self._theirs = flags[at].data, [flag.data for i, flag in enumerate(flags) if i != at]
        self._pieces: list[list[int]] = [[] for _ in parts]  # of each part: their numbers in the ring
        # of each piece: this rank's numbers, those of the others of this host, and where the sums go in the end
        self._memory: list[tuple[Array, list[Array], list[tuple[memoryview, memoryview]]]] = []
        codecs: list[Codec] = []
        self._ring: Ring | None = None
        if at < lanes:
            for number, part, codec in with_codecs(parts, form):
                for piece in cut(lane(part, at, lanes, rows.itemsize), len(hosts), rows.itemsize):
                    self._pieces[number].append(len(codecs))
                    codecs.append(codec)
                    others = [row[piece] for i, row in enumerate(rows) if i != at]
                    self._memory.append((rows[at, piece], others, copies(rows[:, piece], at)))
            own = [numbers for numbers, _, _ in self._memory]
            self._ring = Ring(world, [ranks[at] for ranks in hosts], own, codecs, self._hand_round)
        self._parts_before = 0  # in all steps before this one
        self._ready = len(parts)  # parts of this step that this rank has
        self._taken = len(parts)  # parts of this step that are on their way
        self._finish = world.position.counted(self._complete, "reduction")

    def ready(self, start: int) -> None:
        """Tell the others of this host how many parts of the vector are complete, and move on what is under way."""
        if self._ready == len(self._starts):
            self._ready = self._taken = 0
            if self._ring:
                self._ring.begin()
        while self._ready < len(self._starts) and self._starts[self._ready] >= start:
            self._ready += 1
        self._mine[0] = self._parts_before + self._ready
        self._advance()

    def reduce(self) -> None:
        """See it to its end: all sums are in the vectors of all ranks of this host."""
        self._finish()

    def _complete(self) -> None:
        self._wait_until(self._advance)
        self._parts_before += len(self._pieces)
        self._mine[1] += 1
        ended = self._mine[1]
        self._wait_until(lambda: all(flag[1] >= ended for flag in self._theirs))

    def _advance(self) -> bool:
        """Add up what all ranks of this host have, and move on what travels; whether this rank is done."""
        if self._ring is None:
            return True
        while self._taken < len(self._pieces):
            wanted = self._parts_before + self._taken + 1
            if self._mine[0] < wanted or any(flag[0] < wanted for flag in self._theirs):
                self._ring.progress()
                return False
            for piece in self._pieces[self._taken]:
                own, others, _ = self._memory[piece]
                for other in others:
                    np.add(own, other, own)
                self._ring.start(piece)
                self._ring.progress()
            self._taken += 1
        return self._ring.progress()

    def _hand_round(self, piece: int) -> None:
        """The sums of a piece are there: write them to the vectors of the other ranks of this host."""
        for to, sums in self._memory[piece][2]:
            to[:] = sums

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        check_at = time.monotonic() + CHECK_EVERY
        while not condition():
            os.sched_yield()
            if time.monotonic() >= check_at:
                check_alive(self._world)
                check_at = time.monotonic() + CHECK_EVERY


def with_codecs(parts: list[slice], form: str | None) -> Iterator[tuple[int, slice, Codec]]:
    """The number of each part, and how it travels: loss, weight and requests, which are at the end, as they are."""
    exact = Exact()
    codec: Codec = Halved(form, PIECE // 4) if form else exact
    for number, part in enumerate(parts):
        if form and number == 0:
            yield number, slice(part.stop - TAIL, part.stop), exact
            part = slice(part.start, part.stop - TAIL)
        yield number, part, codec
