"""A training that says when it can be disturbed: ``train_observed.py nnmpi-arguments…``, in a directory of its own.

A rank leaves its pid in ``up-RANK`` when MPI has started, and in ``recovered-RANK`` the clock after the first step that
it finishes after others have died.
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
