"""The native reduction over several hosts: sums in shared memory within a host, and in rings between hosts.

The ranks of a host have their vectors in shared memory, as in `one_host`. The vector is divided into *lanes*, as many
as the host with the fewest ranks has ranks. On each host one rank is responsible for each lane. It adds up this lane of
all vectors of its host. Then it forms a ring (`ring`) with the ranks that have the same lane on the other hosts, which
makes the sums over all hosts. Finally it writes these sums to all vectors of its host. So ``2 (H-1)/H`` of a vector
goes into and out of each of ``H`` hosts, however many ranks each host has.

Finished layers travel while earlier layers still run backward. Each rank shows in a flag how many parts of its vector
are ready. Whenever it is told that more is ready, it also moves on the messages that are under way.
"""

import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from nnmpi.arrays import Array
from nnmpi.mpi.barrier import CHECK_EVERY, can_use_flags, check_alive
from nnmpi.mpi.shared_memory import Flags, copies, share, share_flags
from nnmpi.mpi.start import MESSAGE
from nnmpi.mpi.world import World
from nnmpi.reduction.compress import Codec, Exact, Halved
from nnmpi.reduction.one_host import slice_of
from nnmpi.reduction.protocol import Block
from nnmpi.reduction.ring import Ring
from nnmpi.reduction.step_vector import TAIL

PIECE = MESSAGE  # bytes of a piece at most, so that it is added up in the cache
PART = 1 << 18  # numbers of a part, which starts to travel as a whole
ATOM = 1 << 10  # up to this many numbers are not cut into pieces


def over_hosts(world: World, length: int, dtype: str, wire_format: str | None) -> "Hosts | None":
    """Return the reduction over the hosts of `world`; None on all ranks if there is one host or MPI does better.

    `wire_format` is the format of numbers between hosts, ``fp16`` or ``bf16``; None sends them as they are. If the
    ranks of a host cannot share memory, MPI does better than a ring of all ranks. With a `wire_format` the ring is used
    all the same, because MPI cannot add up such numbers.
    """
    hosts = world.addresses.ranks_of_machines()
    if len(hosts) == 1:
        return None
    rows: Array | None = None
    flags: Flags | None = None
    if max(map(len, hosts)) > 1:
        neighbours = next(ranks for ranks in hosts if world.rank in ranks)
        if not world.sum_exactly(not can_use_flags()):
            rows, flags = share(world, 1, length, dtype, neighbours), share_flags(world, 2, neighbours)
        if rows is None or flags is None:
            if not wire_format:
                return None
            hosts, rows = [[rank] for rank in range(world.size)], None
    if rows is None or flags is None:
        rows, flags = np.zeros((1, 1, length), dtype), np.zeros((1, 2), np.int64)
    return Hosts(world, hosts, rows[:, 0, :length], flags, parts_of(length), wire_format)


def parts_of(length: int) -> list[slice]:
    """Return the parts of a vector from its end to its beginning; all but the last have `PART` numbers."""
    ends = [*range(length, max(PART // 2, 1), -PART), 0] if length > PART // 2 else [length, 0]
    return [slice(start, end) for end, start in pairwise(ends)]


def cut(part: slice, hosts: int, itemsize: int) -> list[slice]:
    """Cut `part` into pieces of equal length, except for the last.

    Their number is a multiple of `hosts`, so that equally many begin at each host. A short `part` stays one piece.
    """
    size = part.stop - part.start
    count = hosts * -(-size // (hosts * (PIECE // itemsize))) if size > ATOM else 1
    width = -(-size // count) if size else 1
    return [slice(start, min(start + width, part.stop)) for start in range(part.start, part.stop, width)]


def lane(part: slice, number: int, lanes: int, itemsize: int) -> slice:
    """Return the slice of `part` that belongs to lane `number` of `lanes`."""
    own = slice_of(number, lanes, part.stop - part.start, itemsize)
    return slice(part.start + own.start, part.start + own.stop)


class Hosts:
    """One batch per rank; sums in shared memory, then in rings between hosts.

    Parameters
    ----------
    world
        The ranks.
    hosts
        The ranks of each host.
    rows
        The vectors of the ranks of this host, shape (ranks, length).
    flags
        Zeros that these ranks share, shape (ranks, 2): for each rank the number of parts that have been ready, counted
        over all steps, and the number of steps that it has ended.
    parts
        The parts of the vector in the order in which they become ready: from its end to its beginning.
    wire_format
        The format of numbers between hosts, see `over_hosts`.
    """

    by_shard = False

    def __init__(
        self,
        world: World,
        hosts: list[list[int]],
        rows: Array,
        flags: Flags,
        parts: list[slice],
        wire_format: str | None,
    ) -> None:
        self._world = world
        neighbours = next(ranks for ranks in hosts if world.rank in ranks)
        row, lanes = neighbours.index(world.rank), min(map(len, hosts))
        shared = "shared memory in each host, " if max(map(len, hosts)) > 1 else ""
        self.name = f"{shared}rings between hosts{f', sent as {wire_format}' if wire_format else ''}"
        self.blocks = [Block(0)]
        self.vectors: list[Array] = [rows[row]]
        self._starts = [part.start for part in parts]
        self._own_flags, self._other_flags = flags[row].data, [flag.data for i, flag in enumerate(flags) if i != row]
        self._pieces: list[list[int]] = [[] for _ in parts]  # of each part: the numbers of its pieces in the ring
        # of each piece: this rank's numbers, those of the host's other ranks, and how to copy the sums to these
        self._memory: list[tuple[Array, list[Array], list[tuple[memoryview, memoryview]]]] = []
        codecs: list[Codec] = []
        self._ring: Ring | None = None
        if row < lanes:
            for number, part, codec in with_codecs(parts, wire_format):
                for piece in cut(lane(part, row, lanes, rows.itemsize), len(hosts), rows.itemsize):
                    self._pieces[number].append(len(codecs))
                    codecs.append(codec)
                    others = [vector[piece] for i, vector in enumerate(rows) if i != row]
                    self._memory.append((rows[row, piece], others, copies(rows[:, piece], row)))
            own = [numbers for numbers, _, _ in self._memory]
            self._ring = Ring(world, [ranks[row] for ranks in hosts], own, codecs, self._copy_to_host)
        self._parts_before = 0  # the number of parts in all steps before this one
        self._parts_ready = len(parts)  # parts of this step that this rank has ready
        self._parts_started = len(parts)  # parts of this step that have started to travel
        self._finish = world.position.counted(self._complete, "reduction")

    def ready(self, start: int) -> None:
        """Show the other ranks of this host which parts are complete, and move on the messages that are under way."""
        if self._parts_ready == len(self._starts):
            self._parts_ready = self._parts_started = 0
            if self._ring:
                self._ring.begin()
        while self._parts_ready < len(self._starts) and self._starts[self._parts_ready] >= start:
            self._parts_ready += 1
        self._own_flags[0] = self._parts_before + self._parts_ready
        self._advance()

    def reduce(self) -> None:
        """Complete the step: then all sums are in the vectors of all ranks of this host."""
        self._finish()

    def _complete(self) -> None:
        self._wait_until(self._advance)
        self._parts_before += len(self._pieces)
        self._own_flags[1] += 1
        ended = self._own_flags[1]
        self._wait_until(lambda: all(flag[1] >= ended for flag in self._other_flags))

    def _advance(self) -> bool:
        """Add up the parts that all ranks of this host have ready, and move messages on. Returns whether it is done."""
        if self._ring is None:
            return True
        while self._parts_started < len(self._pieces):
            needed = self._parts_before + self._parts_started + 1
            if self._own_flags[0] < needed or any(flag[0] < needed for flag in self._other_flags):
                self._ring.progress()
                return False
            for piece in self._pieces[self._parts_started]:
                own, others, _ = self._memory[piece]
                for other in others:
                    np.add(own, other, own)
                self._ring.start(piece)
                self._ring.progress()
            self._parts_started += 1
        return self._ring.progress()

    def _copy_to_host(self, piece: int) -> None:
        """Write the sums of a piece to the vectors of the other ranks of this host."""
        for target, sums in self._memory[piece][2]:
            target[:] = sums

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        check_at = time.monotonic() + CHECK_EVERY
        while not condition():
            os.sched_yield()
            if time.monotonic() >= check_at:
                check_alive(self._world)
                check_at = time.monotonic() + CHECK_EVERY


def with_codecs(parts: list[slice], wire_format: str | None) -> Iterator[tuple[int, slice, Codec]]:
    """Yield number, slice and codec of each part; loss, weight and requests, at the end, always travel unchanged."""
    exact = Exact()
    codec: Codec = Halved(wire_format, PIECE // 4) if wire_format else exact
    for number, part in enumerate(parts):
        if wire_format and number == 0:
            yield number, slice(part.stop - TAIL, part.stop), exact
            part = slice(part.start, part.stop - TAIL)
        yield number, part, codec
