"""Sums over a ring of ranks, in pieces that travel by themselves.

A piece begins at one rank, which sends its own numbers to the next; that one adds its own and sends the sum on, until
the last one of the ring has the sum of all, which then goes round once more. The pieces begin at all ranks in turn, so
that each link carries ``2 (H-1)/H`` of the numbers of ``H`` ranks, as in a ring that goes step by step (Patarasuk &
Yuan 2009); but here some pieces travel while others are added up, and none waits for those that come later.
"""

from collections.abc import Callable
from typing import Any

from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.reduction.compress import Bytes, Codec

# MPI may yet write to the memory of a ring that was given up half-way, when a rank died: it is kept for ever.
_under_way: "set[Ring]" = set()


class Ring:
    """The sums over `ranks`, this one among them, of pieces: `own` are this rank's numbers, `codecs` how they travel.

    In each step all call `begin`, `start` for every piece as soon as they have it, in any order, and `progress` until
    it says that all is done. `arrived` is told of each piece when the sums are where this rank's numbers were.
    """

    def __init__(
        self,
        world: World,
        ranks: list[int],
        own: list[Array],
        codecs: list[Codec],
        arrived: Callable[[int], None],
    ) -> None:
        self._size, here = len(ranks), ranks.index(world.rank)
        self._next, self._before = ranks[(here + 1) % self._size], ranks[here - 1]
        self._comm, self._byte, self._testsome = world.comm, world.mpi.BYTE, world.mpi.Request.Testsome
        self._own, self._codecs = own, codecs
        room = [codec.room(numbers) for codec, numbers in zip(codecs, own, strict=True)]
        self._parts, self._wholes = [part for part, _ in room], [whole for _, whole in room]
        # how many ranks a piece has passed when it comes here
        self._passed = [(here - piece) % self._size for piece in range(len(own))]
        self._one_is_there = [False] * len(own)
        self._arrived = arrived
        self._missing = 0
        self._requests: list[Any] = []
        self._made: dict[tuple[str, int, int], Any] = {}
        self._afterwards: list[tuple[Callable[[int], None], int]] = []

    def begin(self) -> None:
        """Expect what the rank before this one sends."""
        _under_way.add(self)
        self._missing = len(self._own)
        for piece, passed in enumerate(self._passed):
            if passed:
                self._receive(piece, self._parts[piece], 0, self._meet)

    def start(self, piece: int) -> None:
        """Let a piece take this rank's numbers, which are there, along."""
        if self._passed[piece]:
            self._meet(piece)
        else:
            self._codecs[piece].put(self._own[piece], self._parts[piece])
            self._send_part(piece)

    def progress(self) -> bool:
        """Deal with all that has come; whether this rank has all sums, and has sent all that others need."""
        while self._requests:
            done = self._testsome(self._requests)
            if not done:
                return False
            completed = set(done)
            afterwards = [self._afterwards[i] for i in done]
            left = [i for i in range(len(self._requests)) if i not in completed]
            self._requests = [self._requests[i] for i in left]
            self._afterwards = [self._afterwards[i] for i in left]
            for call, piece in afterwards:
                call(piece)
        if self._missing:
            return False
        _under_way.discard(self)
        return True

    def _meet(self, piece: int) -> None:
        """Of what has come of a piece and this rank's own numbers one is there; add them when both are."""
        self._one_is_there[piece] = not self._one_is_there[piece]
        if self._one_is_there[piece]:
            return
        codec, own, part = self._codecs[piece], self._own[piece], self._parts[piece]
        if self._passed[piece] < self._size - 1:
            codec.add(own, part)
            self._send_part(piece)
        else:
            codec.end(own, part, self._wholes[piece])
            self._send(piece, self._wholes[piece], 1)
            self._note(piece)

    def _send_part(self, piece: int) -> None:
        self._send(piece, self._parts[piece], 0)
        self._receive(piece, self._wholes[piece], 1, self._take)

    def _take(self, piece: int) -> None:
        """The sum of all has come; the rank before the last one is where it ends."""
        if self._passed[piece] < self._size - 2:
            self._send(piece, self._wholes[piece], 1)
        self._codecs[piece].take(self._wholes[piece], self._own[piece])
        self._note(piece)

    def _note(self, piece: int) -> None:
        self._missing -= 1
        self._arrived(piece)

    def _send(self, piece: int, numbers: Bytes, round_: int) -> None:
        self._begin(self._comm.Send_init, piece, numbers, self._next, round_)
        self._afterwards.append((_nothing, piece))

    def _receive(self, piece: int, numbers: Bytes, round_: int, then: Callable[[int], None]) -> None:
        self._begin(self._comm.Recv_init, piece, numbers, self._before, round_)
        self._afterwards.append((then, piece))

    def _begin(self, make: Callable[..., Any], piece: int, numbers: Bytes, other: int, round_: int) -> None:
        """Begin a message by a request that lasts.

        Others are freed when they fail, and Open MPI ends the job if it then learns once more that a message failed
        ("Send error after request freed").
        """
        key = make.__name__, piece, round_
        if key not in self._made:
            self._made[key] = make([numbers, self._byte], other, 2 * piece + round_)
        self._made[key].Start()
        self._requests.append(self._made[key])


def _nothing(piece: int) -> None:
    """What follows when a piece has been sent."""
