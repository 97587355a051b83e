"""Which launcher started this process, with what world size and rank; known before MPI starts.

Launchers set environment variables for the processes that they start. These may be stale: a terminal multiplexer that
was started in a job keeps its variables after the job has ended. So where a variable names a connection to the
launcher, it counts only while the launcher answers.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnmpi.mpi.host import parents, process_name

# the name of Open MPI's launcher in messages
OPEN_MPI = "Open MPI's mpirun"
# variables of launchers whose variables for size and rank are not in LAUNCHERS: MPI is started and reports both
OTHERS = ("PMI_CONTROL_PORT", "PMI_PORT", "PALS_RANKID", "ALPS_APP_PE", "MPIRUN_RANK", "MV2_COMM_WORLD_RANK")
BATCH_STEP = 0xFFFFFFF0  # Slurm's step ids from here on belong to scripts and shells, not to srun
# prefixes of the names of launcher processes, which start ranks and end with the job
PROGRAMS = ("prte", "mpirun", "mpiexec", "orte", "hydra", "pmi_proxy", "slurmstepd")


def launched() -> tuple[str | None, int, int]:
    """Return the launcher of this process (None if there is none), and the world size and the rank that it set."""
    for name, size, rank, answers in LAUNCHERS:
        if (world_size := _integer(size)) and answers():
            return name, world_size, _integer(rank) or 0
    return None, 1, 0


def may_have_others() -> bool:
    """Whether a launcher started this process, so that other ranks may exist."""
    known = launched()[0] is not None
    return known or any(os.environ.get(name) for name in OTHERS) or _pmix_answers() is True


def allocated_tasks() -> int:
    """Return the number of tasks of the Slurm script or shell that this process runs in; 0 if a launcher started it."""
    in_job = "SLURM_JOB_ID" in os.environ or "SLURM_NTASKS" in os.environ
    return (_integer("SLURM_NTASKS") or 0) if in_job and launched()[0] is None else 0


def without_mpi() -> tuple[str, int]:
    """Return the launcher of this process that starts no MPI, and the number of its processes; ("", 1) if none does."""
    for name, mark, size in (
        ("torchrun", "TORCHELASTIC_RUN_ID", "WORLD_SIZE"),
        ("horovodrun", "HOROVOD_RANK", "HOROVOD_SIZE"),
    ):
        if mark in os.environ and launched()[0] is None:
            return name, _integer(size) or 1
    return "", 1


def launcher_processes() -> list[int]:
    """Return the launcher processes on this host that started this process, the nearest first.

    A shell may be between them and this process. If no parent has the name of a launcher, the direct parent counts,
    unless it is process 1, which adopts orphans.
    """
    chain = parents(os.getpid())
    names = [process_name(pid) for pid in chain]
    first = next((i for i, name in enumerate(names) if name.startswith(PROGRAMS)), None)
    if first is None:
        return [pid for pid in chain[:1] if pid > 1]
    end = next((i for i in range(first, len(chain)) if not names[i].startswith(PROGRAMS)), len(chain))
    return chain[first:end]


def without_leftovers(variables: dict[str, str]) -> dict[str, str]:
    """Return `variables` without those of a launcher that has ended: they would mislead the next launcher."""
    if launched()[0] or may_have_others():
        return variables
    rank_variables = ("OMPI_COMM_WORLD_", "OMPI_WORLD_", "OMPI_MCA_ess", "OMPI_MCA_orte_", "OMPI_UNIVERSE_SIZE")
    stale = (*rank_variables, "OMPI_FILE_LOCATION", "PMIX_", "PRTE_LAUNCHED", "PMI_", "MPI_LOCAL")
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(stale) or name.startswith("PMIX_MCA_")  # the user sets these
    }


def _integer(variable: str) -> int | None:
    """Return the whole number in an environment variable; None if there is none."""
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _pmix_answers() -> bool | None:
    """Whether a server still listens at the address of the launcher's PMIx server; None if no address is set.

    This reads the system's table of sockets, because the server complains about a connection attempt.
    """
    addresses = [value for name, value in os.environ.items() if name.startswith("PMIX_SERVER_URI")]
    if not addresses:
        return None
    ports = [address.rpartition(":")[2] for address in addresses if ";tcp" in address]
    tables = [table for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if table.is_file()]
    if not tables or not all(port.isdigit() for port in ports) or not ports:
        return True  # it cannot be checked
    wanted = {f"{int(port):04X}" for port in ports}
    for table in tables:
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A" and local.rpartition(":")[2] in wanted:  # it listens
                return True
    return False


def _pmi_answers() -> bool:
    """Whether the connection to Hydra, or to another process manager that speaks PMI, is open."""
    number = _integer("PMI_FD")
    if number is None:
        return any(os.environ.get(name) for name in OTHERS)
    try:
        with socket.socket(fileno=os.dup(number)) as connection:
            connection.getpeername()
    except OSError:
        return False
    return True


def _hydra() -> bool:
    """Whether the PMI variables of this process come from Hydra, which in a Slurm job itself uses srun."""
    return "MPI_LOCALNRANKS" in os.environ


def abort_by_pmi(status: int) -> None:
    """Tell Hydra to end the job before MPI has started; other launchers end it when a rank exits."""
    number = _integer("PMI_FD")
    if number is not None and _pmi_answers():
        with contextlib.suppress(OSError):
            os.write(number, f"cmd=abort exitcode={status}\n".encode())


def _srun_answers() -> bool:
    """Whether srun started this process, or a shell above it, and this step of the job still runs."""
    step = _integer("SLURM_STEP_ID")
    over = _pmix_answers() is False or ("PMI_FD" in os.environ and not _pmi_answers())
    return step is not None and step < BATCH_STEP and not over


# (launcher, variables with the world size and the rank, whether the launcher answers), the more specific ones first
LAUNCHERS: tuple[tuple[str, str, str, Callable[[], bool]], ...] = (
    (OPEN_MPI, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", lambda: _pmix_answers() is True),
    ("srun --mpi=pmi2", "PMI_SIZE", "PMI_RANK", lambda: _pmi_answers() and _srun_answers() and not _hydra()),
    ("mpiexec (Hydra)", "PMI_SIZE", "PMI_RANK", _pmi_answers),
    ("Slurm", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", _srun_answers),
    ("Slurm", "SLURM_NTASKS", "SLURM_PROCID", _srun_answers),
)


def library(mpi: Any) -> str:
    """Return ``Open MPI v5.0.11``, ``MPICH Version: 5.0.2``, …; may be called before MPI is started."""
    first = str(mpi.Get_library_version()).strip("\x00").splitlines()[0]
    return " ".join(first.split(",")[0].split())


def fault_tolerant(mpi: Any) -> bool:
    """Whether ranks can go on after others died: the library is Open MPI, started with ``--with-ft ulfm``."""
    enabled = os.environ.get("OMPI_MCA_mpi_ft_enable")  # noqa: SIM112 (their name)
    return enabled in ("1", "true") and library(mpi).startswith("Open MPI")
