"""Read from the files of a run how far it got, while no rank writes them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnmpi.files.checkpoint import newest

LONGEST = 1 << 20  # bytes to read from the end of a file
Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class RunStatus:
    """How far a run got at least: `epoch` epochs and `step` steps of the next one, `update` updates in all.

    ``begun`` says whether the run has written any file, ``finished`` whether it has written its final results.
    """

    begun: bool
    finished: bool = False
    epoch: int = 0
    step: int = 0
    update: int = 0

    def __str__(self) -> str:
        if not self.begun:
            return "before it began"
        return f"in epoch {self.epoch + 1} after step {self.step}"


def stamp(directory: Path) -> Stamp:
    """Return a value that changes when a run begins in `directory`, because the run rewrites its ``config.json``."""
    try:
        config = (directory / "config.json").stat()
    except OSError:
        return None
    return config.st_mtime_ns, config.st_ino


def read_status(directory: Path, old_stamp: Stamp) -> RunStatus:
    """Return how far the run in `directory` got; `old_stamp` is the stamp from before the run was started.

    This is known from its newest valid checkpoint and the last epoch in its ``metrics.jsonl``. If the stamp has not
    changed, the run has not begun, and all files there belong to an earlier run.
    """
    if stamp(directory) in (None, old_stamp):
        return RunStatus(False)
    finished = _json(_read(directory / "config.json")).get("finished") is True
    checkpoint, _ = newest(directory / "checkpoints")
    ends = [(0, 0, 0)]
    if checkpoint:
        ends.append((checkpoint.progress.update, checkpoint.progress.epoch, checkpoint.progress.step))
    for line in _read(directory / "metrics.jsonl").splitlines()[-2:]:  # the last line may be cut off
        metrics = _json(line)
        if isinstance(metrics.get("epoch"), int) and isinstance(metrics.get("step"), int):
            ends.append((metrics["step"], metrics["epoch"], 0))
    update, epoch, step = max(ends)
    return RunStatus(True, finished, epoch, step, update)


def _read(path: Path) -> bytes:
    """Return the last `LONGEST` bytes of a file, which is all of it except for very long logs; b"" for a pipe."""
    try:
        if not path.is_file():
            return b""
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - LONGEST))
            return file.read(LONGEST)
    except OSError:
        return b""


def _json(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
