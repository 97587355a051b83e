"""The description of a run in ``config.json``, and the digest of the code that all its ranks must share."""

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
    """Return the contents of ``config.json``. "bits" holds the software that decides on the bits of the result."""
    software = versions()
    return {
        "finished": False,
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(Path.cwd()),
        "settings": config.as_json(),
        "architecture": {**vars(task.architecture), "parameters": task.architecture.parameters},
        "samples": task.samples,
        "data_digest": task.data_digest,
        **{f"{part}_digest": digest for part, digest in task.digests.items()},
        "class_weights": None if task.class_weights is None else task.class_weights.tolist(),
        "shards": task.layout.shards,
        "batch_size": task.layout.batch_size,
        "steps_per_epoch": task.layout.steps,
        "world_size": world.size,
        "lost_ranks": world.lost,
        "hosts": world.addresses.hosts(),
        "mpi": world.library(),
        "slurm": batch_job(),
        "versions": software,
        "bits": {"blas": blas(), "numpy": software["numpy"], "scikit-learn": software["scikit-learn"]},
    }


def changed_bits(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return one line that lists what differs between the software `before` an interruption and `now`, or ""."""
    changed = [f"{name} was {before.get(name)}, is {now[name]}" for name in now if before.get(name) != now[name]]
    if not changed:
        return ""
    return f"note: the bits may differ from those of an uninterrupted run: {'; '.join(changed)}"


def code() -> bytes:
    """Return the versions of Python and NumPy and a digest of the package's source files; ranks compare them."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{sys.version} {np.__version__} {digest.hexdigest()}".encode()
