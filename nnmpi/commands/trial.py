"""A training that writes no files, step by step; for ``--dry-run`` and ``lr-find``."""

import json
import time
from collections.abc import Iterator

import numpy as np

from nnmpi.config import Config
from nnmpi.environment import set_threads
from nnmpi.mpi.checks import check_launcher, check_same, training_threads
from nnmpi.mpi.world import World
from nnmpi.training.events import CheckpointDue
from nnmpi.training.loop import train
from nnmpi.training.run_description import code
from nnmpi.training.session import Session


def open_session(config: Config, world: World) -> Session:
    """Open the session of a training on all ranks of `world`, as `nnmpi.commands.train` does, but write no files.

    Raises
    ------
    InputError
        On all ranks, if the settings do not fit the data or the world, or if ranks have different code or settings.
    """
    check_launcher(world)
    check_same(world, {"code": code(), "settings": json.dumps(config.as_json()).encode()})
    set_threads(training_threads(world, config.deterministic, config.threads))
    return Session(config, world)


def steps(session: Session) -> Iterator[float]:
    """Train `session` and yield the seconds that each step took. All ranks take part.

    While a checkpoint is requested, the training loop yields one after each step, and pauses there.
    """
    session.requests.checkpoint = True
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the loss is checked
        began = time.perf_counter()
        for event in train(session):
            if isinstance(event, CheckpointDue) and not event.finished:
                yield time.perf_counter() - began
            began = time.perf_counter()
