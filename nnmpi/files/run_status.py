"""What the files of a run say of how far it came, read from outside while no rank writes them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnmpi.files.checkpoint import newest

LONGEST = 1 << 20  # bytes that are read of a file
Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Evidence:
    """How far a run came: `epoch` epochs and `step` steps of the next one, `update` updates in all, for all we know.

    ``begun`` says whether it wrote anything, ``finished`` whether it wrote everything.
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
    """What changes when a run begins in `directory`: it writes its ``config.json`` anew."""
    try:
        found = (directory / "config.json").stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def evidence(directory: Path, before: Stamp) -> Evidence:
    """How far the run in `directory` came that was started when its stamp was `before`.

    It is known as far as its newest valid checkpoint and the last epoch in its ``metrics.jsonl`` tell. A run that did
    not begin leaves nothing of its own: what is there belongs to one before it.
    """
    if stamp(directory) in (None, before):
        return Evidence(False)
    finished = _json(_read(directory / "config.json")).get("finished") is True
    found, _ = newest(directory / "checkpoints")
    ends = [(0, 0, 0)]
    if found:
        ends.append((found.progress.update, found.progress.epoch, found.progress.step))
    for line in _read(directory / "metrics.jsonl").splitlines()[-2:]:  # the last one may have been cut off
        metrics = _json(line)
        if isinstance(metrics.get("epoch"), int) and isinstance(metrics.get("step"), int):
            ends.append((metrics["step"], metrics["epoch"], 0))
    update, epoch, step = max(ends)
    return Evidence(True, finished, epoch, step, update)


def _read(path: Path) -> bytes:
    """The end of a file, which for files of ours but very long logs is all of it; nothing of a pipe."""
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
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
