"""Sums over a ring of ranks, in pieces that travel independently of each other.

A piece begins at one rank, which sends its numbers to the next rank. Each rank adds its own numbers and sends the
partial sum on. The last rank of the ring has the whole sum, which then goes round the ring once more. Pieces begin at
all ranks in turn, so each link carries ``2 (H-1)/H`` of the vector for ``H`` ranks, as in a ring that goes step by step
(Patarasuk & Yuan 2009). But here some pieces travel while others are added up, and no piece waits for a later one.
"""

from collections.abc import Callable
from typing import Any

from nnmpi.arrays import Array
from nnmpi.mpi.world import World
from nnmpi.reduction.compress import Codec

# Rings with messages under way. A ring that is given up when a rank dies stays here: MPI may still write to its memory.
_under_way: "set[Ring]" = set()


class Ring:
    """Makes the sums of pieces over `ranks`, which include this rank.

    In each step every rank calls `begin`, then `start` for each piece as soon as its numbers are ready, in any order,
    and `progress` until it returns True.

    Parameters
    ----------
    world
        The ranks, of which some form the ring.
    ranks
        The ranks of the ring, in its order.
    own
        This rank's numbers of each piece; the sums replace them.
    codecs
        How the numbers of each piece are written into messages.
    arrived
        Is called with the number of a piece when the sums of the piece have replaced this rank's numbers.
    """

    def __init__(
        self,
        world: World,
        ranks: list[int],
        own: list[Array],
        codecs: list[Codec],
        arrived: Callable[[int], None],
    ) -> None:
        self._size, position = len(ranks), ranks.index(world.rank)
        self._next, self._before = ranks[(position + 1) % self._size], ranks[position - 1]
        self._kept = world.persistent
        self._comm, self._byte, self._testsome = world.comm, world.mpi.BYTE, world.mpi.Request.Testsome
        self._own, self._codecs = own, codecs
        buffers = [codec.make_buffers(numbers) for codec, numbers in zip(codecs, own, strict=True)]
        self._parts, self._wholes = [part for part, _ in buffers], [whole for _, whole in buffers]
        # how many ranks each piece has passed when it arrives at this rank
        self._passed = [(position - piece) % self._size for piece in range(len(own))]
        self._one_ready = [False] * len(own)  # of the partial sum and this rank's numbers, one
        self._arrived = arrived
        self._missing = 0  # pieces whose sums have not arrived in this step
        self._requests: list[Any] = []
        self._persistent: dict[tuple[str, int, int], Any] = {}
        self._callbacks: list[tuple[Callable[[int], None], int]] = []  # of each request: function, piece

    def begin(self) -> None:
        """Begin a step: start to receive the partial sums from the previous rank."""
        _under_way.add(self)
        self._missing = len(self._own)
        for piece, passed in enumerate(self._passed):
            if passed:
                self._receive(piece, self._parts[piece], 0, self._join)

    def start(self, piece: int) -> None:
        """Add this rank's numbers, which are now ready, to a piece."""
        if self._passed[piece]:
            self._join(piece)
        else:
            self._codecs[piece].put(self._own[piece], self._parts[piece])
            self._send_part(piece)

    def progress(self) -> bool:
        """Handle the messages that have arrived. Returns whether all sums are here and all messages have been sent."""
        while self._requests:
            done = self._testsome(self._requests)
            if not done:
                return False
            completed = set(done)
            callbacks = [self._callbacks[i] for i in done]
            pending = [i for i in range(len(self._requests)) if i not in completed]
            self._requests = [self._requests[i] for i in pending]
            self._callbacks = [self._callbacks[i] for i in pending]
            for call, piece in callbacks:
                call(piece)
        if self._missing:
            return False
        _under_way.discard(self)
        return True

    def _join(self, piece: int) -> None:
        """Note that the partial sum of a piece or this rank's numbers are ready. When both are, add them."""
        self._one_ready[piece] = not self._one_ready[piece]
        if self._one_ready[piece]:
            return
        codec, own, part = self._codecs[piece], self._own[piece], self._parts[piece]
        if self._passed[piece] < self._size - 1:
            codec.add(own, part)
            self._send_part(piece)
        else:
            codec.finish(own, part, self._wholes[piece])
            self._send(piece, self._wholes[piece], 1)
            self._complete(piece)

    def _send_part(self, piece: int) -> None:
        self._send(piece, self._parts[piece], 0)
        self._receive(piece, self._wholes[piece], 1, self._take)

    def _take(self, piece: int) -> None:
        """Take the whole sum that has arrived. Send it on, unless the next rank is the one that made it."""
        if self._passed[piece] < self._size - 2:
            self._send(piece, self._wholes[piece], 1)
        self._codecs[piece].take(self._wholes[piece], self._own[piece])
        self._complete(piece)

    def _complete(self, piece: int) -> None:
        self._missing -= 1
        self._arrived(piece)

    def _send(self, piece: int, message: Array, round_: int) -> None:
        self._start_request(self._comm.Send_init, piece, message, self._next, round_)
        self._callbacks.append((_nothing, piece))

    def _receive(self, piece: int, message: Array, round_: int, then: Callable[[int], None]) -> None:
        self._start_request(self._comm.Recv_init, piece, message, self._before, round_)
        self._callbacks.append((then, piece))

    def _start_request(self, make: Callable[..., Any], piece: int, message: Array, other: int, round_: int) -> None:
        """Start to send or receive a message with a persistent request; `round_` is 1 for whole sums, else 0.

        Requests of other kinds are freed when they fail. If Open MPI then learns once more that the message failed, it
        ends the job ("Send error after request freed").
        """
        key = make.__name__, piece, round_
        if key not in self._persistent:
            self._persistent[key] = make([message, self._byte], other, 2 * piece + round_)
            self._kept.append(self._persistent[key])
        self._persistent[key].Start()
        self._requests.append(self._persistent[key])


def _nothing(piece: int) -> None:
    """Do nothing after a message has been sent."""
