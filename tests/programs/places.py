"""Places of a training, by name: a program of tests does something of its own before or after what is done there."""

import contextlib
import importlib
import operator
import os
import types
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

Act = Callable[..., object]

# the functions that are called in each place, as module:name
PLACES = {
    "start": ["nnmpi.commands.job:library_or_alone"],  # before MPI starts
    "world": ["nnmpi.mpi.world:World.__init__"],  # MPI has started
    "prepare": ["nnmpi.training.session:prepare"],
    "output": ["nnmpi.commands.train:Output"],
    "reduce": [
        "nnmpi.reduction.tree:Deterministic.reduce",
        "nnmpi.reduction.allreduce:Native.reduce",
        "nnmpi.reduction.one_host:Slices.reduce",
        "nnmpi.reduction.hosts:Hosts.reduce",
    ],
    "ready": ["nnmpi.reduction.hosts:Hosts.ready"],
    "ring": ["nnmpi.reduction.ring:Ring.progress"],  # while pieces are on their way
    "sum": ["nnmpi.reduction.one_host:np.add", "nnmpi.reduction.tree:np.add"],  # between the two barriers
    "update": ["nnmpi.nn.optimizers:SGD.update"],
    "evaluate": ["nnmpi.training.session:Session.evaluate"],
    "replicas": ["nnmpi.training.loop:check_replicas"],
    "log": ["nnmpi.files.run_log:RunLog.epoch"],
    "model": ["nnmpi.training.output:Output.model"],
    "save": ["nnmpi.files.checkpoint_writer:CheckpointWriter.save"],
    "write": ["nnmpi.files.checkpoint_writer:CheckpointWriter.finish"],
    "shrink": ["nnmpi.faults.recovery:shrink"],
    "agree": ["nnmpi.training.resume:RunState.agree"],
    "hand-round": ["nnmpi.training.resume:_broadcast"],
    "finish": ["nnmpi.files.run_log:RunLog.finished"],
    "agree_on_end": ["nnmpi.mpi.world:World.agree_on_end"],
}


def rank() -> str:
    """This rank's number when the job started."""
    return os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or "0"


def before(place: str, act: Act) -> None:
    """From now on call `act`, with the arguments of the function that is called in a place, before the function."""
    _surround(place, act, lambda *arguments, **more: None)


def after(place: str, act: Act) -> None:
    """From now on call `act`, with the arguments of the function that is called in a place, after the function."""
    _surround(place, lambda *arguments, **more: None, act)


def wait_for_checkpoints() -> None:
    """From now on training waits for its checkpoints, so that a slow disk does not decide which of them there are."""

    def wait(writer: Any, *arguments: Any) -> None:
        with contextlib.suppress(Exception):  # training will get it
            writer.flush()

    after("save", wait)


def _surround(place: str, first: Act, then: Act) -> None:
    for name in PLACES[place]:
        module, _, path = name.partition(":")
        owner, _, attribute = path.rpartition(".")
        holder: Any = importlib.import_module(module)
        if owner == "np":
            if holder.np is np:  # a copy for this module: NumPy itself stays as it is
                holder.np = types.ModuleType("numpy")
                vars(holder.np).update(vars(np))
            holder = holder.np
        elif owner:
            holder = operator.attrgetter(owner)(holder)
        setattr(holder, attribute, _surrounded(getattr(holder, attribute), first, then))


def _surrounded(function: Act, first: Act, then: Act) -> Act:
    @wraps(function, updated=())
    def surrounded(*arguments: Any, **more: Any) -> object:
        first(*arguments, **more)
        result = function(*arguments, **more)
        then(*arguments, **more)
        return result

    return surrounded
