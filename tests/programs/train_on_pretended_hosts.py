"""Runs nnmpi as if the ranks of this machine were on several hosts: ``train_on_pretended_hosts.py nnmpi-arguments…``.

The variable HOSTS_OF_RANKS, such as 0,0,1, holds the host of each rank. Ranks with the same number share memory, and
exchange messages with the others.
"""

import os
import sys

import nnmpi.cli
from nnmpi.mpi.addresses import Addresses


def pretend() -> None:
    """Assign the hosts of HOSTS_OF_RANKS, if it is set. A rank keeps its host when others die."""
    text = os.environ.get("HOSTS_OF_RANKS")
    if text:
        hosts = text.split(",")
        Addresses.machines = lambda self: [hosts[rank] for rank in self._world.initial_ranks]  # type: ignore[method-assign]


if __name__ == "__main__":
    pretend()
    nnmpi.cli.main(sys.argv[1:])
