"""Resuming a run from a checkpoint on the disk, or from the state of the survivors after a rank died."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.config import Config
from nnmpi.data.shards import Layout
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.files.checkpoint import Checkpoint, Progress, newest
from nnmpi.mpi.world import World
from nnmpi.text import counted
from nnmpi.training.task import Task


def find_checkpoint(config: Config, run: Path, world: World) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest valid checkpoint in the directory `run`, or None, and notes for the user. All ranks take part.

    Rank 0 reads the checkpoint and broadcasts it, so the ranks need no common file system. The notes are on rank 0
    only; they name damaged checkpoints, which stay in place.

    Raises
    ------
    InputError
        On all ranks, if the run had other settings, with a list of the differences.
    """
    checkpoint: Checkpoint | None = None
    notes: list[str] = []
    with world.together():
        if world.rank == 0:
            directory = run / "checkpoints"
            checkpoint, damaged = newest(directory)
            notes = [f"damaged checkpoint skipped: {problem}" for problem in damaged]
            if checkpoint is None:
                notes.append(f"no checkpoint in {directory}; starting from the beginning")
            else:
                _check_metadata(checkpoint, directory)
                shards = checkpoint.metadata["shards"]  # those of the default, too, are kept
                before = checkpoint.metadata["settings"] | {"shards": shards}
                differences = dataclasses.replace(config, shards=config.shards or shards).differences(before)
                if differences:
                    raise InputError(
                        f"--resume: the run in {directory.parent} had other settings: {'; '.join(differences)}. "
                        "Give the same settings, or start a new run with another --output"
                    )
    return _broadcast(checkpoint, 0, world), notes


def _broadcast(checkpoint: Checkpoint | None, root: int, world: World) -> Checkpoint | None:
    """Return the checkpoint of rank `root` on all ranks. All ranks take part."""
    head = b""
    if world.rank == root and checkpoint:
        shapes = {name: (array.shape, array.dtype.str) for name, array in checkpoint.arrays.items()}
        head = json.dumps([dataclasses.asdict(checkpoint.progress), checkpoint.metadata, shapes]).encode()
    head = world.broadcast_bytes(head if world.rank == root else None, root)
    if not head:
        return None
    progress, metadata, shapes = json.loads(head)
    if world.rank == root and checkpoint:
        arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()}
    else:
        arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    for array in arrays.values():
        world.broadcast(array, root)
    return Checkpoint(Progress(**progress), arrays, metadata)


@dataclass
class RunState:
    """The state of a run on this rank. It outlives the death of other ranks.

    Attributes
    ----------
    checkpoint : Checkpoint or None
        The live arrays and the progress; None before training begins.
    epochs : list of dict
        The metrics of each epoch that this process took part in. A rank that takes over the log needs them.
    """

    checkpoint: Checkpoint | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def agree(self, world: World) -> str:
        """Take over the state of the most advanced survivor, and return a note about it. All survivors take part.

        Survivors differ by at most one step or the end of one epoch, because all ranks take part in each.
        """
        own = self.checkpoint
        if own:
            own.metadata["epoch"] = self.epochs[-1] if self.epochs else None
        position = (own.progress.epoch, own.progress.update) if own else (-1, -1)
        positions = [tuple(row) for row in world.gather_rows(np.array([position])).tolist()]
        if min(positions) < max(positions):
            self.checkpoint = _broadcast(own, positions.index(max(positions)), world)
            last = self.checkpoint and self.checkpoint.metadata["epoch"]
            if last and last["epoch"] not in [metrics["epoch"] for metrics in self.epochs]:  # own times are kept
                self.epochs.append(last)
        progress = self.checkpoint.progress if self.checkpoint else Progress()
        phase = f"epoch {progress.epoch + 1} after step {progress.step}" if self.checkpoint else "preparation"
        ranks = counted(world.size, "rank")
        return f"note: {world.addresses.name(world.lost)} died; training continues with {ranks}, in {phase}"


def check_data(checkpoint: Checkpoint, task: Task) -> None:
    """Refuse other data than the run was started with, and take over the scalers of the checkpoint.

    Raises
    ------
    InputError
        On all ranks, because the compared values are the same on all ranks.
    """
    for part, digest in task.digests.items():
        if checkpoint.metadata.get(f"{part}_digest") not in (None, digest):
            raise InputError(
                f"--resume: the samples of --{part}-data have changed since the run was started. Restore the old ones, "
                "or start a new run with another --output",
                shared=True,
            )
    weights = None if task.class_weights is None else task.class_weights.tolist()
    if checkpoint.metadata.get("class_weights", weights) != weights:  # earlier versions did not store them
        raise InputError(
            "--resume: the weights in the file of --class-weight have changed since the run was started. Restore the "
            "old ones, or start a new run with another --output",
            shared=True,
        )
    before = checkpoint.metadata
    same = before.get("data_digest") in (None, task.data_digest)  # None in checkpoints of versions without digests
    same = same and before["samples"] == task.samples and before["shards"] == task.layout.shards
    same = same and _fits_layout(checkpoint.progress, task.layout)
    for name, now in scaler_arrays(task).items():
        old = checkpoint.arrays.get(name)
        same = same and old is not None and old.shape == now.shape and np.allclose(old, now, rtol=1e-9)
    if not same:
        raise InputError(
            f"--resume: --data {task.source.name} is not what the run was trained on: features, targets or the order "
            "of the rows have changed. Restore the old data, or start a new run with another --output",
            shared=True,
        )
    for name, now in scaler_arrays(task).items():
        now[:] = checkpoint.arrays[name]


def restore(checkpoint: Checkpoint, state: dict[str, Array]) -> None:
    """Overwrite the arrays of `state` with the arrays of the same names in the checkpoint.

    Raises
    ------
    InputError
        On all ranks, if the checkpoint lacks an array, or has one of another shape or dtype.
    """
    for name, array in state.items():
        before = checkpoint.arrays.get(name)
        if before is None or before.shape != array.shape or before.dtype != array.dtype:
            raise InputError(
                f"--resume: the checkpoint's array {name!r} does not fit the network; remove this checkpoint to resume "
                "from the one before, or choose another --output",
                shared=True,
            )
        array[:] = before


def _check_metadata(checkpoint: Checkpoint, directory: Path) -> None:
    """Refuse a checkpoint with valid checksums that another program or another version of nnmpi wrote."""
    types = {"settings": dict, "samples": dict, "shards": int, "bits": dict}
    invalid = [name for name, expected in types.items() if type(checkpoint.metadata.get(name)) is not expected]
    if invalid or checkpoint.metadata["shards"] < 1:
        raise InputError(
            f"--resume: the newest checkpoint in {directory} was not written by this version of nnmpi: invalid "
            f"{', '.join(invalid) or 'shards'}; remove it, or choose another --output"
        )


def _fits_layout(progress: Progress, layout: Layout) -> bool:
    """Return whether a run with this layout can have this progress."""
    return (
        progress.step <= layout.steps
        and progress.update == progress.epoch * layout.steps + progress.step
        and progress.samples == min(progress.step * layout.batch_size, layout.samples)
        and progress.best_epoch <= progress.epoch
        and (progress.best_epoch == 0) == (progress.best_score is None)
    )


def scaler_arrays(task: Task) -> dict[str, Any]:
    """Return the arrays of the scalers by their names in files."""
    arrays = {"scaler.mean": task.scaler.mean, "scaler.scale": task.scaler.scale}
    if isinstance(task.scaler, Encoding):
        arrays["table.fill"] = task.scaler.fill
    if task.target_scaler:
        arrays |= {"target_scaler.mean": task.target_scaler.mean, "target_scaler.scale": task.target_scaler.scale}
    return arrays
