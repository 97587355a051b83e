"""Any number of ranks in one process: each rank is a thread and waits at a barrier instead of in MPI."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nnmpi.mpi.addresses import Addresses
from nnmpi.mpi.position import Position
from nnmpi.mpi.world import World


class ThreadWorld(World):
    """A rank in a world of threads. The ranks exchange values through `slots` instead of MPI."""

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size, self.host, self.position = rank, len(slots), f"host{rank}", Position()
        self.initial_size, self.initial_ranks, self.recovers = self.size, list(range(self.size)), False
        self.before_exit, self.addresses = lambda: None, Addresses(self)
        self._slots, self._barrier = slots, barrier

    def _from_all(self, value: Any) -> list[Any]:
        self._slots[self.rank] = value
        self._barrier.wait()
        values = list(self._slots)
        self._barrier.wait()
        return values

    def sum_exactly(self, number: int) -> int:
        return sum(self._from_all(number))

    def gather_rows(self, rows: Any) -> Any:
        return np.concatenate(self._from_all(rows.copy()))

    def gather_bytes(self, data: bytes) -> list[bytes]:
        return self._from_all(data)

    def broadcast_bytes(self, data: bytes | None, root: int = 0) -> bytes:
        return bytes(self._from_all(data)[root])

    def broadcast(self, array: Any, root: int = 0) -> None:
        arrays = self._from_all(array.copy())
        assert {a.nbytes for a in arrays} == {array.nbytes}  # MPI copies bytes
        array[...] = arrays[root]


def on_ranks(size: int, work: Callable[[World], Any]) -> list[Any]:
    """Return the results of `work` on each rank of a world of `size`, or raise the first error."""
    barrier = threading.Barrier(size, timeout=60)
    slots: list[Any] = [None] * size
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run_rank(rank: int) -> None:
        try:
            results[rank] = work(ThreadWorld(rank, slots, barrier))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run_rank, args=(rank,)) for rank in range(size)]
    with threadpool_limits(1, "blas"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    if errors:
        raise errors[0]
    return results
