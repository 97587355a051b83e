"""Lets the ranks of one machine believe that they are on several hosts: HOSTS_OF_RANKS=0,0,1 in the environment.

Ranks with the same number share memory, and send to the others. As a program:
``train_on_pretended_hosts.py nnmpi-arguments…``.
"""

import os
import sys

import nnmpi.cli
from nnmpi.mpi.addresses import Addresses


def pretend() -> None:
    """Do so, if the environment says it; a rank keeps its host when others die."""
    text = os.environ.get("HOSTS_OF_RANKS")
    if text:
        hosts = text.split(",")
        Addresses.machines = lambda self: [hosts[rank] for rank in self._world.initial_ranks]  # type: ignore[method-assign]


if __name__ == "__main__":
    pretend()
    nnmpi.cli.main(sys.argv[1:])
