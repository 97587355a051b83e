"""The host and the process of each rank. They show which ranks may still be alive after they were lost."""

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
    """The host and the process of each rank of a world, including lost ranks.

    Ranks are numbered as they were at the start, unless a method says otherwise.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._hosts: list[str] = []
        self._processes: dict[int, tuple[str, int, int]] = {}  # machine, process id, start time
        self._machine = ""

    def meet(self) -> None:
        """Exchange hosts and processes between all ranks.

        All ranks take part, also those that have met before: if a rank dies in a meeting, only some others finish it.
        """
        world, state = self._world, process(os.getpid())
        self._machine = machine()
        own = json.dumps([world.host, self._machine, os.getpid(), state[1] if state else 0]).encode()
        hosts, processes = self._hosts or [""] * world.initial_size, dict(self._processes)
        for rank, text in zip(world.initial_ranks, world.gather_bytes(own), strict=True):
            hosts[rank], name, pid, started = json.loads(text)
            processes[rank] = (str(name), int(pid), int(started))
        self._hosts, self._processes = hosts, processes

    def hosts(self) -> list[str]:
        """Return the host name of each rank that is left; all ranks take part if they have not met."""
        if not self._hosts:
            self.meet()
        return [self._hosts[rank] for rank in self._world.initial_ranks]

    def host_of(self, rank: int) -> str:
        """Return the host of a rank, alive or lost; "" if it is not known.

        Before the ranks have met, it is known only if Open MPI says that all ranks are on this host.
        """
        if self._hosts:
            return self._hosts[rank]
        all_local = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(self._world.initial_size)
        return self._world.host if all_local else ""

    def machines(self) -> list[str]:
        """Return the machine (see `host.machine`) of each rank that is left; all take part if they have not met."""
        if not self._hosts:
            self.meet()
        return [self.machine_of(rank) for rank in self._world.initial_ranks]

    def machine_of(self, rank: int) -> str:
        """Return the machine of a rank, alive or lost, after the ranks have met."""
        return self._processes[rank][0]

    def ranks_of_machines(self) -> list[list[int]]:
        """Return the current ranks, grouped by machine; all ranks take part if they have not met."""
        ranks: dict[str, list[int]] = {}
        for rank, name in enumerate(self.machines()):
            ranks.setdefault(name, []).append(rank)
        return list(ranks.values())

    @property
    def on_one_host(self) -> bool:
        """Whether all ranks, including lost ones, are known to be on this host."""
        return {self.host_of(rank) for rank in range(self._world.initial_size)} == {self._world.host}

    @property
    def hosts_without_ranks(self) -> list[str]:
        """The hosts whose ranks are all lost: they may be cut off from the network."""
        with_ranks = {self.host_of(rank) for rank in self._world.initial_ranks}
        hosts = map(self.host_of, self._world.lost)
        return list(dict.fromkeys(host for host in hosts if host and host not in with_ranks))

    @property
    def is_first_on_host(self) -> bool:
        """Whether this rank is the first of those that are left on its host."""
        world = self._world
        return world.initial_ranks[world.rank] == next(
            rank for rank in world.initial_ranks if self.host_of(rank) == world.host
        )

    def alive(self, ranks: list[int], patience: float = 3.0) -> list[int]:
        """Return those of `ranks` whose processes still run, as a rank on the same machine sees them.

        All ranks take part and get the same result. Processes that are just ending get `patience` seconds to do so.
        """
        end = time.monotonic() + patience
        while (running := [rank for rank in ranks if self.state(rank)]) and time.monotonic() < end:
            time.sleep(0.01)
        rows = self._world.gather_rows(np.array(running, np.int64).reshape(-1, 1))
        return sorted(set(rows.ravel().tolist()))

    def kill(self, ranks: list[int]) -> None:
        """Kill the processes of those of `ranks` that still run on this machine."""
        for rank in filter(self.state, ranks):  # else its process id may belong to another process by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._processes[rank][1], signal.SIGKILL)

    def state(self, rank: int) -> str | None:
        """Return the state of a rank's process, as `process` does; None if it is dead or on another machine."""
        name, pid, started = self._processes.get(rank, ("", 0, 0))
        state = process(pid) if name == self._machine else None
        return state[0] if state and state[1] == started else None

    def name(self, ranks: list[int]) -> str:
        """Return ``rank 1 of 4 on host``, or ``ranks 1, 3 of 4 on …``."""
        numbers = ", ".join(map(str, ranks))
        hosts = ", ".join(dict.fromkeys(filter(None, map(self.host_of, ranks))))
        return f"rank{'s' * (len(ranks) > 1)} {numbers} of {self._world.initial_size}" + (
            f" on {hosts}" if hosts else ""
        )
