"""Checkpoints: everything that a run needs to continue as if it had not been interrupted.

One checkpoint is two files in ``checkpoints/``: ``N.safetensors`` with the arrays and ``N.json`` with everything else,
where N is the number of updates done. The JSON file holds the SHA-256 of both. It is written last: a checkpoint without
it does not exist.
"""

import contextlib
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy

from nnmpi.arrays import Array
from nnmpi.errors import InputError
from nnmpi.files.atomic import remove_file, whole_file, write_whole
from nnmpi.files.tensors import pieces

Arrays = dict[str, Array]
FORMAT = 3  # 1: SGD's state was v, not μv; 2: the second half of Adam's state was v, not 10 v
LARGEST_JSON = 1 << 24  # bytes; ours are a few thousand


@dataclass
class Progress:
    """How far a run has got.

    ``epoch`` epochs are finished, ``step`` steps of the next one, ``update`` updates in all. The sums, ``samples`` and
    ``seconds`` (of training) count the unfinished epoch only.
    """

    epoch: int = 0
    step: int = 0
    update: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    best_score: float | None = None
    best_epoch: int = 0

    def advance(self, loss_sum: float, weight_sum: float, samples: int) -> None:
        """Count a finished step."""
        self.update += 1
        self.step += 1
        self.loss_sum += loss_sum
        self.weight_sum += weight_sum
        self.samples += samples

    def finish_epoch(self) -> None:
        """Move to the beginning of the next epoch."""
        self.epoch, self.step = self.epoch + 1, 0
        self.loss_sum, self.weight_sum, self.samples, self.seconds = 0.0, 0.0, 0, 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory; ``metadata`` is what a run needs to resume, besides progress and arrays."""

    progress: Progress
    arrays: Arrays
    metadata: dict[str, Any]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Unfinished:
    """A checkpoint that is written, but may not be on the disk yet; call `finish` or `drop`.

    Writing it takes about as long as a copy of the arrays in memory, but needs no memory for the copy.
    """

    def __init__(self, directory: Path, checkpoint: Checkpoint) -> None:
        self.update = checkpoint.progress.update
        self._path = directory / f"{self.update:012d}.safetensors"
        digest = hashlib.sha256()
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(whole_file(self._path))
            for piece in pieces(checkpoint.arrays):
                digest.update(piece)
                file.write(piece)
            self._file = stack.pop_all()
        content = {"format": FORMAT, "progress": asdict(checkpoint.progress), "about": checkpoint.metadata}
        self._text = json.dumps(content | {"sha256": digest.hexdigest()}, sort_keys=True)

    def finish(self) -> None:
        """Bring the checkpoint to the disk; it exists once all of it is there."""
        self._file.close()
        outer = json.dumps({"sha256": _digest(self._text.encode()), "content": self._text})
        write_whole(self._path.with_suffix(".json"), outer.encode())

    def drop(self) -> None:
        """Remove the unfinished files."""
        with contextlib.suppress(_DroppedError), self._file:
            raise _DroppedError


class _DroppedError(Exception):
    """Makes `whole_file` remove its temporary file."""


def read(path: Path) -> Checkpoint:
    """Read the checkpoint whose JSON file is `path`.

    Raises
    ------
    ValueError
        If it is damaged. Content with a wrong checksum is not interpreted.
    InputError
        If another version of nnmpi wrote it, in another format.
    """
    try:
        for file in (path, path.with_suffix(".safetensors")):
            if file.exists() and not file.is_file():
                raise ValueError(f"{file.name} is not a file")  # opening a pipe would wait for ever
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError("the JSON file is too large")
        outer = json.loads(path.read_bytes())
        text = outer["content"]
        if _digest(text.encode()) != outer["sha256"]:
            raise ValueError("the checksum of the JSON file is wrong")
        content = json.loads(text)
        if content.get("format", 1) != FORMAT:
            raise InputError(
                f"--resume: the checkpoint {path} was written by another version of nnmpi (format "
                f"{content.get('format', 1)}, this version reads {FORMAT}): continue with that version, or start a new "
                "run with another --output"
            )
        data = path.with_suffix(".safetensors").read_bytes()
        if _digest(data) != content["sha256"]:
            raise ValueError("the checksum of the safetensors file is wrong")
        progress = Progress(**content["progress"])
        _check(progress)
        if not isinstance(content["about"], dict):
            raise ValueError("metadata is missing")
        return Checkpoint(progress, safetensors.numpy.load(data), content["about"])
    except OSError as error:
        raise ValueError(f"{path.stem}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path.stem}: {error or type(error).__name__}") from None


def _check(progress: Progress) -> None:
    counts = (progress.epoch, progress.step, progress.update, progress.samples, progress.best_epoch)
    numbers = (
        progress.loss_sum,
        progress.weight_sum,
        progress.seconds,
        0.0 if progress.best_score is None else progress.best_score,
    )
    if not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError(f"invalid progress counters: {progress}")
    if not all(type(n) is float for n in numbers) or not 0 <= progress.seconds < math.inf:
        raise ValueError(f"invalid numbers: {progress}")


def newest(directory: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest valid checkpoint in `directory`, if any, and what is wrong with the newer ones.

    Raises
    ------
    InputError
        If another version of nnmpi wrote it, in another format.
    """
    damaged: list[str] = []
    for path in sorted(directory.glob("*.json"), reverse=True):
        try:
            return read(path), damaged
        except ValueError as error:
            damaged.append(str(error))
    return None, damaged


def remove_all(directory: Path) -> None:
    """Remove the checkpoints of an earlier run."""
    for path in [*directory.glob("[0-9]*.json"), *directory.glob("[0-9]*.safetensors")]:
        remove_file(path)
