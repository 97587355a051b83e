"""Going on from a checkpoint: which one, and whether it belongs to what was asked for."""

import dataclasses
import json
import sys
from typing import Any

import numpy as np

from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.mpi.world import World
from nnmpi.output import directory_of
from nnmpi.run.checkpoint import Checkpoint, Progress, newest
from nnmpi.task import Task


def find_checkpoint(config: Config, world: World) -> Checkpoint | None:
    """The newest valid checkpoint of the run, on all ranks; None if there is none to resume from.

    Rank 0 reads it and hands it round, so that the ranks need no file system in common. What is damaged is named and
    left in place.

    Raises
    ------
    InputError
        On all ranks, if the run had other settings; it lists the differences.
    """
    found: Checkpoint | None = None
    head: bytes | None = None
    with world.together():
        if world.rank == 0:
            directory = directory_of(config) / "checkpoints"
            found, damaged = newest(directory)
            for problem in damaged:
                print(f"nnmpi: damaged checkpoint skipped: {problem}", file=sys.stderr, flush=True)
            if found is None:
                print(f"nnmpi: no checkpoint in {directory}; starting from the beginning", file=sys.stderr, flush=True)
                head = b""
            else:
                differences = config.differences(found.about["settings"])
                if differences:
                    raise InputError(
                        f"--resume: the run in {directory.parent} had other settings: {'; '.join(differences)}. "
                        "Give the same, or start a run of its own with another --output"
                    )
                shapes = {name: (array.shape, array.dtype.str) for name, array in found.arrays.items()}
                head = json.dumps([dataclasses.asdict(found.progress), found.about, shapes]).encode()
    head = world.broadcast_bytes(head)
    if not head:
        return None
    progress, about, shapes = json.loads(head)
    arrays = found.arrays if found else {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    for name in shapes:
        arrays[name] = np.ascontiguousarray(arrays[name])
        world.broadcast(arrays[name])
    return Checkpoint(Progress(**progress), arrays, about)


def check_data(checkpoint: Checkpoint, task: Task) -> None:
    """Refuse to go on with other data than the run was started with.

    Raises
    ------
    InputError
        On all ranks: what is compared is the same on all.
    """
    same = checkpoint.about["samples"] == task.samples and checkpoint.about["shards"] == task.layout.shards
    for name, now in scaler_arrays(task).items():
        before = checkpoint.arrays.get(name)
        same = same and before is not None and before.shape == now.shape and np.allclose(before, now, rtol=1e-9)
    if not same:
        raise InputError(
            f"--resume: --data {task.source.name} is not what the run was trained on: samples or features differ",
            shared=True,
        )
    for name, now in scaler_arrays(task).items():
        now[:] = checkpoint.arrays[name]


def scaler_arrays(task: Task) -> dict[str, Any]:
    """The scalers' arrays under the names that they have in files."""
    arrays = {"scaler.mean": task.scaler.mean, "scaler.scale": task.scaler.scale}
    if task.target_scaler:
        arrays |= {"target_scaler.mean": task.target_scaler.mean, "target_scaler.scale": task.target_scaler.scale}
    return arrays
