"""The pools of ranks of this process: one for each module and number of ranks, kept until the process ends."""

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator

from nnmpi.launching.rank_pool import RankPool
from nnmpi.mpi.cores import available
from nnmpi.text import counted

MOST_PER_CORE = 8  # ranks per core; many more would overload the machine while they start


class SharedPool:
    """A pool for the threads of this process, which use it in turn. Its ranks start when they are first needed."""

    def __init__(self, module: str, ranks: int) -> None:
        self._module, self._ranks = module, ranks
        self._lock = threading.Lock()
        self._user = 0  # the thread that uses the ranks
        self.pool: RankPool | None = None

    @contextlib.contextmanager
    def used(self) -> Iterator[RankPool]:
        """Wait until no other thread uses the ranks, and yield them. At the end of the body, delete the arrays."""
        if self._user == threading.get_ident():  # it would wait forever
            raise RuntimeError(
                f"a fit with n_jobs={self._ranks} called this one, and its ranks are in use: fit with n_jobs=1 here"
            )
        with self._lock:
            if self.pool is None or self.pool.closed:  # a failure closes it
                self.pool = RankPool(self._module, self._ranks)
            self._user = threading.get_ident()
            try:
                yield self.pool
            finally:
                self._user = 0
                self.pool.arrays.clear()


_pools: dict[tuple[str, int], SharedPool] = {}


@contextlib.contextmanager
def rank_pool(module: str, ranks: int) -> Iterator[RankPool]:
    """Yield the `ranks` ranks of this process that run `module`; start them if there are none. Other threads wait.

    Raises
    ------
    ValueError
        If there would be too many ranks for the cores of this process.
    RuntimeError
        If this thread uses these ranks already, as in a callback of a fit.
    """
    cores = available()
    if ranks > MOST_PER_CORE * cores:
        raise ValueError(
            f"n_jobs={ranks} is too many for the {counted(cores, 'core')} that this process may use; at most "
            f"{MOST_PER_CORE * cores} are allowed, and n_jobs=-1 starts one rank for each core"
        )
    with _pools.setdefault((module, ranks), SharedPool(module, ranks)).used() as pool:
        yield pool


@atexit.register
def _close_all() -> None:
    for shared in _pools.values():
        if shared.pool and not shared.pool.closed:
            shared.pool.close()


def _drop_all() -> None:
    for shared in _pools.values():
        if shared.pool:
            shared.pool.close_sockets()
    _pools.clear()


os.register_at_fork(after_in_child=_drop_all)  # the ranks are the parent's
