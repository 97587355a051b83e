"""Runs ``nnmpi info``, which gives up early on a rank that hangs; with the argument ``short``, also on one that
never starts. With the argument ``stop``, this rank stops in the middle.
"""

import os
import signal
import sys
from typing import Any

from nnmpi.cli import main
from nnmpi.commands import info
from nnmpi.doctor import facts

info.STALLED = 5.0
gather_rank_facts = facts.rank_facts


def stop_first(*arguments: Any) -> Any:
    os.kill(os.getpid(), signal.SIGSTOP)
    return gather_rank_facts(*arguments)


if sys.argv[1:] == ["short"]:
    info.LIMIT, info.LAST = 6.0, 4.0
if sys.argv[1:] == ["stop"]:
    facts.rank_facts = stop_first
main(["info"])
