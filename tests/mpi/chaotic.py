"""A training that says when it can be disturbed: ``chaotic.py nnmpi-arguments…``, in a directory of its own.

A rank leaves its pid in ``up-RANK`` when MPI has started, and in ``recovered-RANK`` the clock after the first step that
it finishes after others have died.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import nnmpi.cli
from nnmpi.mpi.world import World
from nnmpi.nn.optimizers import SGD
from nnmpi.training.resume import RunState

original_init, original_agree, original_update = World.__init__, RunState.agree, SGD.update
name = ""
recovering = False


def init(self: World, mpi: Any) -> None:
    global name
    original_init(self, mpi)
    name = str(self.rank)
    temporary = Path(f".up-{name}")
    temporary.write_text(str(os.getpid()))
    temporary.rename(f"up-{name}")


def agree(self: RunState, world: World) -> None:
    global recovering
    recovering = True
    original_agree(self, world)


def update(self: SGD, gradient: np.ndarray, **numbers: Any) -> None:
    global recovering
    original_update(self, gradient, **numbers)
    if recovering:
        recovering = False
        with open(f"recovered-{name}", "a") as file:
            file.write(f"{time.monotonic()}\n")


World.__init__ = init  # type: ignore[method-assign]
RunState.agree = agree  # type: ignore[method-assign]
SGD.update = update  # type: ignore[method-assign]
nnmpi.cli.main(sys.argv[1:])
