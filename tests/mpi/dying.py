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
import pretended_hosts

import nnmpi.cli
import nnmpi.commands.job
import nnmpi.commands.train
import nnmpi.faults.recovery
import nnmpi.files.checkpoint_writer
import nnmpi.training.loop
import nnmpi.training.output
import nnmpi.training.resume
import nnmpi.training.session
from nnmpi.files.run_log import RunLog
from nnmpi.mpi.world import World
from nnmpi.nn.optimizers import SGD
from nnmpi.reduction import one_host as slices
from nnmpi.reduction import tree
from nnmpi.reduction.allreduce import Native
from nnmpi.reduction.hosts import Hosts
from nnmpi.reduction.one_host import Slices
from nnmpi.reduction.ring import Ring
from nnmpi.reduction.tree import Deterministic

PLACES: dict[str, list[tuple[Any, str]]] = {
    "start": [(nnmpi.commands.job, "library_or_alone")],  # before MPI starts
    "prepare": [(nnmpi.training.session, "prepare")],
    "output": [(nnmpi.commands.train, "Output")],
    "reduce": [(Deterministic, "reduce"), (Native, "reduce"), (Slices, "reduce"), (Hosts, "reduce")],
    "ready": [(Hosts, "ready")],
    "ring": [(Ring, "progress")],  # while pieces are on their way
    "sum": [(slices, "np"), (tree, "np")],  # while slices are added up, between the two barriers
    "update": [(SGD, "update")],
    "evaluate": [(nnmpi.training.session.Session, "evaluate")],
    "replicas": [(nnmpi.training.loop, "check_replicas")],
    "log": [(RunLog, "epoch")],
    "model": [(nnmpi.training.output.Output, "model")],
    "save": [(nnmpi.files.checkpoint_writer.CheckpointWriter, "save")],
    "write": [(nnmpi.files.checkpoint_writer.CheckpointWriter, "finish")],
    "shrink": [(nnmpi.faults.recovery, "shrink")],
    "agree": [(nnmpi.training.resume.RunState, "agree")],
    "hand-round": [(nnmpi.training.resume, "_broadcast")],
    "finish": [(RunLog, "finished")],
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


pretended_hosts.pretend()
for place, functions in PLACES.items():
    for owner, name in functions:
        setattr(owner, name, DeadlyNumPy() if name == "np" else deadly(place, getattr(owner, name)))
nnmpi.cli.main(sys.argv[2:])
