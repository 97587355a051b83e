"""The hosts and processes of a world's ranks, which tell who can still be alive when ranks are lost."""

import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np

from nnmpi.mpi.host import machine, process

if TYPE_CHECKING:
    from nnmpi.mpi.world import World


class Addresses:
    """Where the ranks of a world are, those that were lost, too.

    Ranks have the numbers here that they had at the start.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._hosts: list[str] = []
        self._processes: dict[int, tuple[str, int, int]] = {}  # machine, number, start time

    def meet(self) -> None:
        """Tell each other hosts and processes; all ranks take part, as after a death only some may have met before."""
        world, own = self._world, process(os.getpid())
        mine = json.dumps([world.host, machine(), os.getpid(), own[1] if own else 0]).encode()
        hosts, processes = self._hosts or [""] * world.initial_size, dict(self._processes)
        for rank, text in zip(world.initial_ranks, world.gather_bytes(mine), strict=True):
            hosts[rank], *where = json.loads(text)
            processes[rank] = (str(where[0]), int(where[1]), int(where[2]))
        self._hosts, self._processes = hosts, processes

    def hosts(self) -> list[str]:
        """The host name of each rank that is left; all ranks take part if they have not met."""
        if not self._hosts:
            self.meet()
        return [self._hosts[rank] for rank in self._world.initial_ranks]

    def host_of(self, rank: int) -> str:
        """The host of a rank, alive or not; "" if it died before it could tell."""
        if self._hosts:
            return self._hosts[rank]
        alone = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(self._world.initial_size)
        return self._world.host if alone else ""

    def machines(self) -> list[str]:
        """What system each rank that is left is a process of; all ranks take part if they have not met."""
        if not self._hosts:
            self.meet()
        return [self._processes[rank][0] for rank in self._world.initial_ranks]

    def ranks_of_machines(self) -> list[list[int]]:
        """The ranks that are left on each system, by their numbers now; all ranks take part if they have not met."""
        ranks: dict[str, list[int]] = {}
        for rank, name in enumerate(self.machines()):
            ranks.setdefault(name, []).append(rank)
        return list(ranks.values())

    @property
    def on_one_host(self) -> bool:
        """Whether all ranks, those that were lost, too, are known to be on this host."""
        return {self.host_of(rank) for rank in range(self._world.initial_size)} == {self._world.host}

    @property
    def hosts_without_ranks(self) -> list[str]:
        """The hosts of which no rank is left: they may be cut off."""
        left = {self.host_of(rank) for rank in self._world.initial_ranks}
        hosts = map(self.host_of, self._world.lost)
        return list(dict.fromkeys(host for host in hosts if host and host not in left))

    @property
    def is_first_on_host(self) -> bool:
        """Whether this is the first of the ranks that are left on its host."""
        world = self._world
        return world.initial_ranks[world.rank] == next(
            rank for rank in world.initial_ranks if self.host_of(rank) == world.host
        )

    def alive(self, ranks: list[int], patience: float = 3.0) -> list[int]:
        """Those of `ranks` whose processes somebody on their machine still sees; on all ranks.

        Processes that are just ending get so many seconds for it.
        """
        end = time.monotonic() + patience
        while (seen := [rank for rank in ranks if self._number(rank)]) and time.monotonic() < end:
            time.sleep(0.01)
        rows = self._world.gather_rows(np.array(seen, np.int64).reshape(-1, 1))
        return sorted(set(rows.ravel().tolist()))

    def kill(self, ranks: list[int]) -> None:
        """End the processes of those of `ranks` that are on this machine and not dead."""
        for number in filter(None, map(self._number, ranks)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def _number(self, rank: int) -> int:
        """The process number of a rank that can be seen from here, and is not dead; else 0."""
        where, number, started = self._processes.get(rank, ("", 0, 0))
        found = process(number) if where == machine() else None
        return number if found and found[1] == started else 0

    def name(self, ranks: list[int]) -> str:
        """``rank 1 of 4 on host``, or ``ranks 1, 3 of 4 on …``."""
        numbers = ", ".join(map(str, ranks))
        hosts = ", ".join(dict.fromkeys(filter(None, map(self.host_of, ranks))))
        return f"rank{'s' * (len(ranks) > 1)} {numbers} of {self._world.initial_size}" + (
            f" on {hosts}" if hosts else ""
        )
