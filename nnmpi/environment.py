"""The environment of a run: versions, BLAS and its threads, batch job."""

import os
import platform
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from nnmpi import __version__


def set_threads(threads: int) -> None:
    """Set the number of BLAS threads in this process."""
    threadpool_limits(limits=threads, user_api="blas")


def blas() -> dict[str, Any]:
    """Return library, version, kernel for this CPU and threads of the BLAS that NumPy uses."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    of_numpy = [pool for pool in pools if f"{os.sep}numpy" in pool["filepath"]] or pools or [{}]
    keys = {
        "internal_api": "library",
        "version": "version",
        "architecture": "kernel",
        "num_threads": "threads",
    }
    return {name: of_numpy[0].get(key) for key, name in keys.items()}


def batch_job() -> dict[str, str]:
    """Return the variables with which Slurm identifies the job of this process; empty outside Slurm."""
    names = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")
    return {name: os.environ[name] for name in names if name in os.environ}


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    from importlib.metadata import version

    return {
        "nnmpi": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),
        "mpi4py": version("mpi4py"),
    }
