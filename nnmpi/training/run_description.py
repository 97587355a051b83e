"""What a run is: what ``config.json`` says of it, and what all its ranks must have in common."""

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nnmpi.config import Config
from nnmpi.environment import batch_job, blas, versions
from nnmpi.files.git_commit import git_commit
from nnmpi.mpi.world import World
from nnmpi.training.task import Task


def describe(config: Config, task: Task, world: World) -> dict[str, Any]:
    """What ``config.json`` says of a run. Under "bits" stands what its bits depend on, besides the settings."""
    found, math = versions(), blas()
    return {
        "finished": False,
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(Path.cwd()),
        "settings": config.as_json(),
        "architecture": {**vars(task.architecture), "parameters": task.architecture.parameters},
        "samples": task.samples,
        "data_digest": task.data_digest,
        "class_weights": None if task.class_weights is None else task.class_weights.tolist(),
        "shards": task.layout.shards,
        "batch_size": task.layout.batch_size,
        "steps_per_epoch": task.layout.steps,
        "world_size": world.size,
        "lost_ranks": world.lost,
        "hosts": world.addresses.hosts(),
        "mpi": world.library(),
        "slurm": batch_job(),
        "versions": found,
        "bits": {"blas": math, "numpy": found["numpy"], "scikit-learn": found["scikit-learn"]},
    }


def changed_bits(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In a line, which software that decides on bits differs `before` an interruption and `now`; "" if none does."""
    changed = [f"{name} was {before.get(name)}, is {now[name]}" for name in now if before.get(name) != now[name]]
    if not changed:
        return ""
    return f"note: the bits may differ from those of an uninterrupted run: {'; '.join(changed)}"


def code() -> bytes:
    """All source files of the package, so that ranks with different ones can be told."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{sys.version} {np.__version__} {digest.hexdigest()}".encode()
