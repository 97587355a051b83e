"""Steps of a training that leaves nothing behind: what ``--dry-run`` and ``lr-find`` share."""

import json
import time
from collections.abc import Iterator

import numpy as np

from nnmpi.config import Config
from nnmpi.environment import set_threads
from nnmpi.mpi.checks import blas_threads, check_launcher, check_same
from nnmpi.mpi.world import World
from nnmpi.training.events import CheckpointDue
from nnmpi.training.loop import train
from nnmpi.training.run_description import code
from nnmpi.training.session import Session


def open_session(config: Config, world: World) -> Session:
    """The session of a training on all ranks of `world`; like `nnmpi.commands.train`, but nothing is written.

    Raises
    ------
    InputError
        On all ranks, if the settings do not go with the data or the world, or ranks have different code or settings.
    """
    check_launcher(world)
    check_same(world, {"code": code(), "settings": json.dumps(config.as_json()).encode()})
    set_threads(config.threads or (1 if config.deterministic else blas_threads(world)))
    return Session(config, world)


def steps(session: Session) -> Iterator[float]:
    """Train `session`; after each step of its epochs, how long it took in seconds. All ranks take part.

    The loop offers a checkpoint after each step as long as one is asked for, and stands still while it is written.
    """
    session.requests.checkpoint = True
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the loss is checked
        began = time.perf_counter()
        for event in train(session):
            if isinstance(event, CheckpointDue) and not event.finished:
                yield time.perf_counter() - began
            began = time.perf_counter()
