"""A training in which ranks die: ``train_with_deaths.py PLACE:CALL:RANK[,…] nnmpi-arguments…``.

Rank RANK (its number at the start) is killed with SIGKILL when it reaches PLACE, one of ``places.PLACES``, for the
CALL-th time, counted from 1. HOSTS_OF_RANKS places the ranks on several hosts, see `train_on_pretended_hosts`.
"""

import os
import signal
import sys
from collections import Counter

import places
import train_on_pretended_hosts

import nnmpi.cli

calls: Counter[str] = Counter()


def die(place: str, call: int) -> None:
    def count(*arguments: object, **keywords: object) -> None:
        calls[place] += 1
        if calls[place] == call:
            os.kill(os.getpid(), signal.SIGKILL)

    places.before(place, count)


train_on_pretended_hosts.pretend()
for part in sys.argv[1].split(","):
    place, call, victim = part.split(":")
    if victim == places.rank():
        die(place, int(call))
nnmpi.cli.main(sys.argv[2:])
