"""Runs ``nnmpi info`` with short limits. With the argument ``stop``, the rank stops in the middle."""

import os
import signal
import sys
from typing import Any

from nnmpi.cli import main
from nnmpi.commands import info
from nnmpi.doctor import facts

info.STALLED, info.LIMIT, info.LAST = 2.0, 6.0, 4.0
gather_rank_facts = facts.rank_facts


def stop_first(*arguments: Any) -> Any:
    os.kill(os.getpid(), signal.SIGSTOP)
    return gather_rank_facts(*arguments)


if sys.argv[1:2] == ["stop"]:
    facts.rank_facts = stop_first
main(["info"])
