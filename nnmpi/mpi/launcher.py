"""What a process knows of how it was started, before MPI is."""

import os
from typing import Any

# what launchers tell the processes they start: (launcher, world size, rank), the more specific ones first
LAUNCHERS = (
    ("Open MPI's mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("mpiexec (Hydra)", "PMI_SIZE", "PMI_RANK"),
    ("Slurm", "SLURM_NTASKS", "SLURM_PROCID"),
)


def launched() -> tuple[str | None, int, int]:
    """Who started this process, and the world size and rank it was promised."""
    for name, size, rank in LAUNCHERS:
        if os.environ.get(size, "").isdigit():
            return name, int(os.environ[size]), int(os.environ.get(rank, "0"))
    return None, 1, 0


def library(mpi: Any) -> str:
    """``Open MPI v5.0.11``, ``MPICH Version: 5.0.2``, …; may be called before MPI is started."""
    first = str(mpi.Get_library_version()).strip("\x00").splitlines()[0]
    return " ".join(first.split(",")[0].split())


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def fault_tolerant() -> bool:
    """Whether the launcher lets a job go on when some of its processes have died."""
    return os.environ.get("OMPI_MCA_mpi_ft_enable", "0").lower() in ("1", "true", "yes")  # noqa: SIM112 (its name)
