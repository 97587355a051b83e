"""A training that reports when it can be disturbed: ``train_observed.py nnmpi-arguments…``.

When MPI has started, each rank writes its pid to ``up-RANK`` in the working directory. After other ranks have died, it
appends the time at which it finishes its first step to ``recovered-RANK``.
"""

import os
import sys
import time
from pathlib import Path

import places

import nnmpi.cli

recovering = False


def started(*arguments: object) -> None:
    temporary = Path(f".up-{places.rank()}")
    temporary.write_text(str(os.getpid()))
    temporary.rename(f"up-{places.rank()}")


def recover(*arguments: object) -> None:
    global recovering
    recovering = True


def updated(*arguments: object, **numbers: object) -> None:
    global recovering
    if recovering:
        recovering = False
        with open(f"recovered-{places.rank()}", "a") as file:
            file.write(f"{time.monotonic()}\n")


places.after("world", started)
places.before("agree", recover)
places.after("update", updated)
nnmpi.cli.main(sys.argv[1:])
