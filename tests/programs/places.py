"""Named places in a training, before or after which test programs can run code of their own."""

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
    "ring": ["nnmpi.reduction.ring:Ring.progress"],  # while pieces are in transit
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
    """Return this rank's number at the start of the job."""
    return os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or "0"


def before(place: str, act: Act) -> None:
    """From now on call `act` before each call of the functions of `place`, with their arguments."""
    _surround(place, act, lambda *arguments, **keywords: None)


def after(place: str, act: Act) -> None:
    """From now on call `act` after each call of the functions of `place`, with their arguments."""
    _surround(place, lambda *arguments, **keywords: None, act)


def wait_for_checkpoints() -> None:
    """From now on training waits for each checkpoint. Otherwise a slow disk decides which checkpoints are written."""

    def wait(writer: Any, *arguments: Any) -> None:
        with contextlib.suppress(Exception):  # training raises it later
            writer.flush()

    after("save", wait)


def _surround(place: str, before_call: Act, after_call: Act) -> None:
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
        setattr(holder, attribute, _surrounded(getattr(holder, attribute), before_call, after_call))


def _surrounded(function: Act, before_call: Act, after_call: Act) -> Act:
    @wraps(function, updated=())
    def surrounded(*arguments: Any, **keywords: Any) -> object:
        before_call(*arguments, **keywords)
        result = function(*arguments, **keywords)
        after_call(*arguments, **keywords)
        return result

    return surrounded
