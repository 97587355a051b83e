"""What a process knows of how it was started, before MPI is."""

import os
import sys
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


def fault_tolerant(mpi: Any) -> bool:
    """Whether ranks can go on after the death of others: Open MPI, started with ``--with-ft ulfm``."""
    asked = os.environ.get("OMPI_MCA_mpi_ft_enable")  # noqa: SIM112 (their name)
    return asked in ("1", "true") and library(mpi).startswith("Open MPI")


def shows_terminal() -> bool:
    """Whether what this process prints goes straight to a terminal.

    Open MPI's launcher gives rank 0 a terminal of its own even where it passes the output on into a file: what the
    launcher, our parent, writes to is what counts.
    """
    if not sys.stdout.isatty():
        return False
    if "OMPI_COMM_WORLD_SIZE" not in os.environ:
        return True
    try:
        # not by open(): that would empty a file; and a pipe that nobody reads must not block
        output = os.open(f"/proc/{os.getppid()}/fd/1", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return os.isatty(output)
    finally:
        os.close(output)
