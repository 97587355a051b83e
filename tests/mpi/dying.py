"""A training in which ranks die: ``dying.py PLACE:CALL:RANK[,…] nnmpi-arguments…``.

Rank RANK (its number at the start) is killed -9 when it comes to PLACE for the CALL-th time, from 1.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

import nnmpi.cli
import nnmpi.mpi.job
import nnmpi.mpi.recover
import nnmpi.output
import nnmpi.resume
import nnmpi.run.writer
import nnmpi.train
from nnmpi.mpi import slices, tree
from nnmpi.mpi.native import Native
from nnmpi.mpi.slices import Slices
from nnmpi.mpi.tree import Deterministic
from nnmpi.mpi.world import World
from nnmpi.nn.optim import SGD
from nnmpi.run.log import RunLog

PLACES: dict[str, list[tuple[Any, str]]] = {
    "start": [(nnmpi.mpi.job, "_check_family")],  # before MPI starts
    "prepare": [(nnmpi.train, "prepare")],
    "output": [(nnmpi.train, "Output")],
    "reduce": [(Deterministic, "reduce"), (Native, "reduce"), (Slices, "reduce")],
    "sum": [(slices, "np"), (tree, "np")],  # while slices are added up, between the two barriers
    "update": [(SGD, "update")],
    "evaluate": [(nnmpi.train, "evaluate")],
    "replicas": [(nnmpi.train, "check_replicas")],
    "log": [(RunLog, "epoch")],
    "model": [(nnmpi.output.Output, "model")],
    "save": [(nnmpi.run.writer.CheckpointWriter, "save")],
    "write": [(nnmpi.run.writer.CheckpointWriter, "finish")],
    "shrink": [(nnmpi.mpi.recover, "shrink")],
    "agree": [(nnmpi.resume.Standing, "agree")],
    "hand-round": [(nnmpi.resume, "_hand_round")],
    "finish": [(nnmpi.output.Output, "finish")],
    "settle": [(World, "settle")],
}

plan = {tuple(part.split(":")) for part in sys.argv[1].split(",")}
calls: Counter[str] = Counter()
rank = os.environ["OMPI_COMM_WORLD_RANK"]


def deadly(place: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **more: Any) -> Any:
        calls[place] += 1
        if (place, str(calls[place]), rank) in plan:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **more)

    return wrapped


class DeadlyNumPy:
    """NumPy, but for its addition."""

    add = staticmethod(deadly("sum", np.add))

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


for place, functions in PLACES.items():
    for owner, name in functions:
        setattr(owner, name, DeadlyNumPy() if name == "np" else deadly(place, getattr(owner, name)))
nnmpi.cli.main(sys.argv[2:])
