"""A fit on ``n_jobs`` ranks that an ordinary Python process has started: both sides of their messages.

The ranks run ``python -m nnmpi.training.fit_below SOCKET DIRECTORY...``.
"""

import contextlib
import dataclasses
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.launching.array_files import ArrayFiles
from nnmpi.launching.rank_pool import RankPool
from nnmpi.mpi.open_world import open_world
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.training.events import Requests
from nnmpi.training.fit import fit, limited_threads
from nnmpi.training.fit_state import FitSettings, FitState, Samples

MODULE = "nnmpi.training.fit_below"
END = 20.0  # seconds that a rank may take to end after its parent process has ended

STATE_ARRAYS = ("parameters", "optimizer", "best")
SAMPLE_ARRAYS = ("x", "y", "weights", "training", "validation")


def fit_below(
    pool: RankPool,
    settings: FitSettings,
    samples: Samples,
    state: FitState,
    random: np.random.RandomState,
    after_epoch: list[Callable[[FitState], None]],
) -> None:
    """Fit on the ranks of `pool`. Afterwards `state` and `random` are as after a fit in this process.

    After each epoch the ranks wait for the functions `after_epoch`, which are called with the state of that epoch. The
    fit ends there if one of them sets ``state.end``.

    Raises
    ------
    RunError
        If a rank failed.
    """
    arrays = {name: getattr(samples, name) for name in SAMPLE_ARRAYS} | {n: getattr(state, n) for n in STATE_ARRAYS}
    present = [name for name, array in arrays.items() if array is not None]
    for name in present:
        pool.arrays.put(name, arrays[name])
    job = {
        "arrays": present,
        "settings": dataclasses.asdict(settings),
        "state": _scalars(state),
        "architecture": dataclasses.asdict(state.architecture),
        "random": _random_state(random),
        "waits": bool(after_epoch),
    }
    with contextlib.closing(pool.run(job)) as messages:  # if a function fails, the ranks end
        for message in messages:
            for name, value in message["state"].items():
                setattr(state, name, value)
            for name in STATE_ARRAYS:
                if name in ("parameters", "optimizer") or state.best is not None:
                    setattr(state, name, pool.arrays.get(name, copy=True))
            if "done" in message:
                random.set_state(_numpy_state(message["random"]))
            else:
                for function in after_epoch:
                    function(state)
                pool.send({"end": state.end})


def _scalars(state: FitState) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(state)]
    return {name: getattr(state, name) for name in names if name not in (*STATE_ARRAYS, "architecture")}


def _random_state(random: np.random.RandomState) -> list[Any]:
    name, keys, *rest = random.get_state()
    return [name, np.asarray(keys).tolist(), *rest]


def _numpy_state(state: list[Any]) -> Any:
    """Return the argument of ``RandomState.set_state`` for a list that `_random_state` made."""
    return (state[0], np.array(state[1], np.uint32), *state[2:])


class Rank:
    """One of the ranks: takes jobs from the parent process until that ends."""

    def __init__(self, connection: socket.socket, arrays: ArrayFiles) -> None:
        self._connection, self._arrays = connection, arrays
        self._jobs: queue.Queue[tuple[dict[str, Any], Requests] | None] = queue.Queue()
        self._ends: queue.Queue[str] = queue.Queue()  # after each epoch: ``state.end``, from the parent process

    def work(self, world: World) -> None:
        """Run the jobs one after the other, together with the other ranks."""
        self._connection.sendall(world.rank.to_bytes(4, "little"))
        while job := self._jobs.get():
            try:
                self._fit(*job, world)
            except Exception as error:  # of any kind: the parent process raises it
                self._send({"error": f"{type(error).__name__}: {error} (on rank {world.rank} of {world.size})"})

    def listen(self) -> None:
        """Read the messages of the parent process, also while a job runs; when it has ended, end this rank."""
        requests = Requests()
        # a process that is killed resets the connection if it has not read all, and may leave half a line
        with contextlib.suppress(OSError, ValueError):
            for line in self._connection.makefile("rb"):
                message = json.loads(line)
                if "stop" in message:
                    requests.stop = True
                elif "end" in message:
                    self._ends.put(message["end"])
                else:
                    requests = Requests()
                    self._jobs.put((message, requests))
        requests.stop = True  # the parent process has ended
        self._arrays.remove()  # before this process may end
        self._ends.put("stopped")
        self._jobs.put(None)
        time.sleep(END)
        os._exit(1)

    def _fit(self, job: dict[str, Any], requests: Requests, world: World) -> None:
        arrays: dict[str, Array | None] = dict.fromkeys((*STATE_ARRAYS, *SAMPLE_ARRAYS))
        for name in job["arrays"]:
            arrays[name] = self._arrays.get(name, copy=name in STATE_ARRAYS)
        architecture = Architecture(**{**job["architecture"], "sizes": tuple(job["architecture"]["sizes"])})
        state_arrays: dict[str, Any] = {name: arrays[name] for name in STATE_ARRAYS}
        state = FitState(architecture, **state_arrays, **job["state"])
        sample_arrays: dict[str, Any] = {name: arrays[name] for name in SAMPLE_ARRAYS}
        samples = Samples(**sample_arrays)
        random = np.random.RandomState()
        random.set_state(_numpy_state(job["random"]))
        settings = FitSettings(**job["settings"])
        with limited_threads(settings.deterministic, world):
            for _ in fit(settings, samples, state, random, world, requests):
                if job["waits"]:
                    if world.rank == 0:
                        self._report(state)
                    state.end = self._ends.get()
        if world.rank == 0:
            self._report(state, done=True, random=_random_state(random))

    def _report(self, state: FitState, **more: Any) -> None:
        for name in STATE_ARRAYS:
            array = getattr(state, name)
            if array is not None:
                self._arrays.replace(name, array)
        self._send({"state": _scalars(state), **more})

    def _send(self, message: dict[str, Any]) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")


def main(address: str, *directories: str) -> None:
    """Run a rank: connect to the parent process and work until it ends."""
    arrays = ArrayFiles([Path(directory) for directory in directories])
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            rank = Rank(connection, arrays)
            threading.Thread(target=rank.listen, daemon=True).start()  # the parent may die while MPI starts
            with open_world() as world:
                rank.work(world)
    finally:
        arrays.remove()  # if the parent process was killed, also while this rank started, nobody else removes them


if __name__ == "__main__":
    main(*sys.argv[1:])
