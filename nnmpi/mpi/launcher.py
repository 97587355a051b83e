"""What a process knows of how it was started, before MPI is.

Launchers tell the processes they start by variables. These may be left over: a terminal multiplexer that was started in
a job keeps its variables after the job has ended. So a variable counts only where what it points to is there.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnmpi.mpi.host import parents, process_name

# the name of Open MPI's launcher for users
OPEN_MPI = "Open MPI's mpirun"
# signs of launchers of which neither size nor rank is known here: MPI is started, and finds out
OTHERS = ("PMI_CONTROL_PORT", "PMI_PORT", "PALS_RANKID", "ALPS_APP_PE", "MPIRUN_RANK", "MV2_COMM_WORLD_RANK")
BATCH_STEP = 0xFFFFFFF0  # from here on Slurm's step numbers are those of scripts and shells, not of srun
# beginnings of the names of processes that start ranks, and that end with the job
PROGRAMS = ("prte", "mpirun", "mpiexec", "orte", "hydra", "pmi_proxy", "slurmstepd")


def launched() -> tuple[str | None, int, int]:
    """Who started this process, and the world size and rank it was promised."""
    for name, size, rank, is_there in LAUNCHERS:
        if (promised := _whole(size)) and is_there():
            return name, promised, _whole(rank) or 0
    return None, 1, 0


def may_have_others() -> bool:
    """Whether a launcher started this process, so that there may be other ranks."""
    known = launched()[0] is not None
    return known or any(os.environ.get(name) for name in OTHERS) or _pmix_answers() is True


def allocated_tasks() -> int:
    """How many tasks Slurm allocated to the script or shell that this process belongs to; 0 if srun started it."""
    in_job = "SLURM_JOB_ID" in os.environ or "SLURM_NTASKS" in os.environ
    return (_whole("SLURM_NTASKS") or 0) if in_job and launched()[0] is None else 0


def launcher_processes() -> list[int]:
    """The processes above this one that started it as a rank, the nearest first, as far as they are on this host.

    There may be a shell between. Where none has the name of a launcher, it is the parent that counts, unless that is
    the first process of all, which adopts orphans.
    """
    chain = parents(os.getpid())
    names = [process_name(pid) for pid in chain]
    first = next((i for i, name in enumerate(names) if name.startswith(PROGRAMS)), None)
    if first is None:
        return [pid for pid in chain[:1] if pid > 1]
    end = next((i for i in range(first, len(chain)) if not names[i].startswith(PROGRAMS)), len(chain))
    return chain[first:end]


def without_leftovers(variables: dict[str, str]) -> dict[str, str]:
    """`variables` without those of a launcher that has ended: they would mislead the next one."""
    if launched()[0] or may_have_others():
        return variables
    of_a_rank = ("OMPI_COMM_WORLD_", "OMPI_WORLD_", "OMPI_MCA_ess", "OMPI_MCA_orte_", "OMPI_UNIVERSE_SIZE")
    left = (*of_a_rank, "OMPI_FILE_LOCATION", "PMIX_", "PRTE_LAUNCHED", "PMI_", "MPI_LOCAL")
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(left) or name.startswith("PMIX_MCA_")  # these are the user's
    }


def _whole(variable: str) -> int | None:
    """The whole number that a variable holds, if it holds one."""
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _pmix_answers() -> bool | None:
    """Whether anybody listens where the PMIx server of this rank's launcher did; None if there is no such address.

    To connect would make the server complain: the system's table of sockets tells.
    """
    addresses = [value for name, value in os.environ.items() if name.startswith("PMIX_SERVER_URI")]
    if not addresses:
        return None
    ports = [address.rpartition(":")[2] for address in addresses if ";tcp" in address]
    tables = [table for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if table.is_file()]
    if not tables or not all(port.isdigit() for port in ports) or not ports:
        return True  # nothing is known against it
    wanted = {f"{int(port):04X}" for port in ports}
    for table in tables:
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A" and local.rpartition(":")[2] in wanted:  # it listens
                return True
    return False


def _pmi_answers() -> bool:
    """Whether the connection to Hydra, or to another process manager that speaks PMI, is open."""
    number = _whole("PMI_FD")
    if number is None:
        return any(os.environ.get(name) for name in OTHERS)
    try:
        with socket.socket(fileno=os.dup(number)) as connection:
            connection.getpeername()
    except OSError:
        return False
    return True


def _hydra() -> bool:
    """Whether Hydra started this process, if any of those that speak PMI did; in Slurm's jobs it uses srun itself."""
    return "MPI_LOCALNRANKS" in os.environ


def abort_by_pmi(status: int) -> None:
    """Tell Hydra to end the job, as MPI would if it had started; other launchers do so when a rank exits."""
    number = _whole("PMI_FD")
    if number is not None and _pmi_answers():
        with contextlib.suppress(OSError):
            os.write(number, f"cmd=abort exitcode={status}\n".encode())


def _srun_answers() -> bool:
    """Whether srun started this process or a shell above it, and that step of the job is not over."""
    step = _whole("SLURM_STEP_ID")
    over = _pmix_answers() is False or ("PMI_FD" in os.environ and not _pmi_answers())
    return step is not None and step < BATCH_STEP and not over


# (launcher, world size, rank, whether it is there), the more specific ones first
LAUNCHERS: tuple[tuple[str, str, str, Callable[[], bool]], ...] = (
    (OPEN_MPI, "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", lambda: _pmix_answers() is True),
    ("srun --mpi=pmi2", "PMI_SIZE", "PMI_RANK", lambda: _pmi_answers() and _srun_answers() and not _hydra()),
    ("mpiexec (Hydra)", "PMI_SIZE", "PMI_RANK", _pmi_answers),
    ("Slurm", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", _srun_answers),
    ("Slurm", "SLURM_NTASKS", "SLURM_PROCID", _srun_answers),
)


def library(mpi: Any) -> str:
    """``Open MPI v5.0.11``, ``MPICH Version: 5.0.2``, …; may be called before MPI is started."""
    first = str(mpi.Get_library_version()).strip("\x00").splitlines()[0]
    return " ".join(first.split(",")[0].split())


def fault_tolerant(mpi: Any) -> bool:
    """Whether ranks can go on after the death of others: Open MPI, started with ``--with-ft ulfm``."""
    asked = os.environ.get("OMPI_MCA_mpi_ft_enable")  # noqa: SIM112 (their name)
    return asked in ("1", "true") and library(mpi).startswith("Open MPI")
