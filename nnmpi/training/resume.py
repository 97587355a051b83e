"""Going on from a checkpoint on the disk, or from what the survivors of a rank's death hold."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnmpi.config import Config
from nnmpi.data.shards import Layout
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.files.checkpoint import Checkpoint, Progress, newest
from nnmpi.mpi.world import World
from nnmpi.nn.arrays import Array
from nnmpi.training.task import Task


def find_checkpoint(config: Config, run: Path, world: World) -> tuple[Checkpoint | None, list[str]]:
    """The newest valid checkpoint of the run in `run`, on all ranks, or None; on rank 0 what its user should know.

    Rank 0 reads it and broadcasts it, so that the ranks need no common file system. Damaged checkpoints are named and
    left in place.

    Raises
    ------
    InputError
        On all ranks, if the run had other settings; it lists the differences.
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
                _check_about(checkpoint, directory)
                differences = config.differences(checkpoint.about["settings"])
                if differences:
                    raise InputError(
                        f"--resume: the run in {directory.parent} had other settings: {'; '.join(differences)}. "
                        "Give the same, or start a run of its own with another --output"
                    )
    return _broadcast(checkpoint, 0, world), notes


def _broadcast(checkpoint: Checkpoint | None, root: int, world: World) -> Checkpoint | None:
    """The `checkpoint` of rank `root`, on all ranks."""
    head = b""
    if world.rank == root and checkpoint:
        shapes = {name: (array.shape, array.dtype.str) for name, array in checkpoint.arrays.items()}
        head = json.dumps([dataclasses.asdict(checkpoint.progress), checkpoint.about, shapes]).encode()
    head = world.broadcast_bytes(head if world.rank == root else None, root)
    if not head:
        return None
    progress, about, shapes = json.loads(head)
    if world.rank == root and checkpoint:
        arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()}
    else:
        arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in shapes.items()}
    for array in arrays.values():
        world.broadcast(array, root)
    return Checkpoint(Progress(**progress), arrays, about)


@dataclass
class RunState:
    """What this rank holds of a run, and what outlives the death of other ranks.

    Attributes
    ----------
    checkpoint : Checkpoint or None
        The live arrays and progress; None before training begins.
    epochs : list of dict
        The metrics of each epoch that this process took part in, for a rank that has to take over the log.
    """

    checkpoint: Checkpoint | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def agree(self, world: World) -> str:
        """Take over the state of the most advanced survivor; all of them take part. Returns what happened, in a line.

        Ranks differ by one step or the end of one epoch at most, as all take part in each.
        """
        mine = self.checkpoint
        if mine:
            mine.about["epoch"] = self.epochs[-1] if self.epochs else None
        place = (mine.progress.epoch, mine.progress.update) if mine else (-1, -1)
        places = [tuple(row) for row in world.gather_rows(np.array([place])).tolist()]
        if min(places) < max(places):
            self.checkpoint = _broadcast(mine, places.index(max(places)), world)
            last = self.checkpoint and self.checkpoint.about["epoch"]
            if last and last["epoch"] not in [metrics["epoch"] for metrics in self.epochs]:  # each has its own times
                self.epochs.append(last)
        now = self.checkpoint.progress if self.checkpoint else Progress()
        where = f"epoch {now.epoch + 1} after step {now.step}" if self.checkpoint else "the preparations"
        return f"note: {world.addresses.name(world.lost)} died; {world.size} go on, in {where}"


def check_data(checkpoint: Checkpoint, task: Task) -> None:
    """Refuse to go on with other data than the run was started with.

    Raises
    ------
    InputError
        On all ranks: what is compared is the same on all.
    """
    before = checkpoint.about.get("data_digest")  # None: written before there were digests
    same = before in (None, task.data_digest)
    same = same and checkpoint.about["samples"] == task.samples and checkpoint.about["shards"] == task.layout.shards
    same = same and _is_of(checkpoint.progress, task.layout)
    for name, now in scaler_arrays(task).items():
        old = checkpoint.arrays.get(name)
        same = same and old is not None and old.shape == now.shape and np.allclose(old, now, rtol=1e-9)
    if not same:
        raise InputError(
            f"--resume: --data {task.source.name} is not what the run was trained on: features, targets or the order "
            "of the rows have changed. Bring the old data back, or start a run of its own with another --output",
            shared=True,
        )
    for name, now in scaler_arrays(task).items():
        now[:] = checkpoint.arrays[name]


def restore(checkpoint: Checkpoint, state: dict[str, Array]) -> None:
    """Overwrite the arrays of `state` by those of the checkpoint that have their names.

    Raises
    ------
    InputError
        On all ranks, if it lacks one, or has one of another shape or type.
    """
    for name, array in state.items():
        before = checkpoint.arrays.get(name)
        if before is None or before.shape != array.shape or before.dtype != array.dtype:
            raise InputError(
                f"--resume: the checkpoint's {name} do not fit the network; remove it to go on from the one before, or "
                "choose another --output",
                shared=True,
            )
        array[:] = before


def _check_about(checkpoint: Checkpoint, directory: Path) -> None:
    """Refuse what has the checksums of a checkpoint but not the contents: another program's, or another version's."""
    kinds = {"settings": dict, "samples": dict, "shards": int, "bits": dict}
    strange = [name for name, kind in kinds.items() if type(checkpoint.about.get(name)) is not kind]
    if strange or checkpoint.about["shards"] < 1:
        raise InputError(
            f"--resume: the newest checkpoint in {directory} is not one of this version of nnmpi "
            f"({', '.join(strange) or 'shards'}); remove it, or choose another --output"
        )


def _is_of(progress: Progress, layout: Layout) -> bool:
    """Whether a run of this layout can stand where `progress` says."""
    return (
        progress.step <= layout.steps
        and progress.update == progress.epoch * layout.steps + progress.step
        and progress.samples == min(progress.step * layout.batch_size, layout.samples)
        and progress.best_epoch <= progress.epoch
        and (progress.best_epoch == 0) == (progress.best_score is None)
    )


def scaler_arrays(task: Task) -> dict[str, Any]:
    """The scalers' arrays under the names that they have in files."""
    arrays = {"scaler.mean": task.scaler.mean, "scaler.scale": task.scaler.scale}
    if isinstance(task.scaler, Encoding):
        arrays["table.fill"] = task.scaler.fill
    if task.target_scaler:
        arrays |= {"target_scaler.mean": task.target_scaler.mean, "target_scaler.scale": task.target_scaler.scale}
    return arrays
