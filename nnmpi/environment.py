"""What a run ran on: versions, BLAS, threads."""

import os
import platform
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from nnmpi import __version__


def set_threads(threads: int) -> None:
    """Let BLAS use so many threads in this process from now on."""
    threadpool_limits(limits=threads, user_api="blas")


def blas() -> dict[str, Any]:
    """The BLAS that NumPy calls: library, version, kernel for this CPU, threads."""
    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    beside_numpy = [p for p in found if f"{os.sep}numpy" in p["filepath"]] or found or [{}]
    keys = {
        "internal_api": "library",
        "version": "version",
        "architecture": "kernel",
        "num_threads": "threads",
    }
    return {name: beside_numpy[0].get(key) for key, name in keys.items()}


def batch_job() -> dict[str, str]:
    """What Slurm calls the job that this process belongs to; nothing outside of Slurm."""
    names = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")
    return {name: os.environ[name] for name in names if name in os.environ}


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    from importlib.metadata import version

    return {
        "nnmpi": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),
        "mpi4py": version("mpi4py"),
    }
