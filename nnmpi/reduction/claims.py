"""Things in memory that all ranks of a host see, each of which goes to the rank that asks first."""

import ctypes
from typing import Any

from nnmpi.memory import LINE
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.world import World
from nnmpi.reduction.protocol import Array


class Claims:
    """`count` things of each rank, to be offered and claimed over and over.

    Behind each is a semaphore of POSIX, which the C library keeps whole whoever takes it at the same time: NumPy and
    Python have nothing that does so between processes without a name in the file system.
    """

    def __init__(self, memory: Array, rank: int) -> None:
        size, count, _ = memory.shape
        self._memory = memory  # lives as long as the addresses
        self._places = [[ctypes.c_void_p(memory[r, i].ctypes.data) for i in range(count)] for r in range(size)]
        self._mine = self._places[rank]
        libc = ctypes.CDLL(None)
        self._post, self._try = libc.sem_post, libc.sem_trywait

    def offer(self, count: int) -> None:
        """The first `count` things of this rank are there again; all that it offered before have been claimed."""
        for place in self._mine[:count]:
            self._post(place)

    def claim(self, rank: int, i: int) -> bool:
        """Whether thing `i` of `rank` was there; it no longer is."""
        taken: int = self._try(self._places[rank][i])
        return taken == 0


def claims(world: World, count: int) -> Claims | None:
    """`Claims` with nothing on offer, or None on all ranks, where memory or semaphores cannot be shared."""
    memory = share(world, count, LINE // 8, "int64")  # a line for each: it is larger than any system's semaphore
    if memory is None:
        return None
    made = all(_initialize(place.ctypes.data) for place in memory[world.rank])
    return None if world.sum_exactly(not made) else Claims(memory, world.rank)  # nobody claims before all are made


def _initialize(address: int) -> bool:
    """Make a semaphore that processes share, of the value 0."""
    function: Any = getattr(ctypes.CDLL(None), "sem_init", None)
    return function is not None and function(ctypes.c_void_p(address), 1, 0) == 0
