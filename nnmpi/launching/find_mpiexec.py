"""Find the MPI launcher and which MPI it belongs to, without starting MPI."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nnmpi.errors import InputError
from nnmpi.mpi.launcher import launched
from nnmpi.mpi.start import INSTALL_MPI

UNSET_SLURM = "run `unset ${!SLURM_@}` in bash to start the ranks on this host"
# patterns in the output of `mpiexec --version`, the more specific ones first
VERSIONS = {
    "Open MPI": re.compile(r"\(Open MPI\) (\S+)"),
    "Intel MPI": re.compile(r"Intel\(R\) MPI Library.*Version (\S+)"),
    "MPICH": re.compile(r"HYDRA build details:\s+Version:\s+(\S+)"),
}


@dataclass(frozen=True)
class Launcher:
    """An ``mpiexec``: its path, its MPI and version, and whether a job can survive the loss of a rank."""

    path: str
    mpi: str
    version: str
    fault_tolerance: bool

    def __str__(self) -> str:
        return f"{self.path} of {self.mpi} {self.version}"


def check_outermost() -> None:
    """Refuse to start ranks from inside a rank. A batch script has Slurm's variables, too, but is allowed.

    Raises
    ------
    InputError
        If a launcher started this process as a rank.
    """
    name, _, rank = launched()
    if name not in (None, "Slurm") or rank > 0:
        raise InputError(f"nnmpi launch starts the ranks itself, but {name} started it: use only one of the two")


def check_allocation() -> None:
    """Refuse the variables of a Slurm job that has ended, as in the shell of salloc: launchers would use its hosts.

    Raises
    ------
    InputError
        If Slurm says that the job does not run. Without an answer of Slurm, nothing is refused.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job or "SLURM_JOB_NODELIST" not in os.environ:
        return
    words = ("squeue", "--noheader", "--jobs", job, "--format", "%T")
    try:
        answer = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return
    if "Invalid job id" in answer.stderr or not (answer.returncode or answer.stdout.strip()):
        raise InputError(f"the variables of Slurm job {job} are set, but it has ended: {UNSET_SLURM}")


def find_launcher() -> Launcher:
    """Return the launcher beside this Python, else the first one on PATH.

    Raises
    ------
    InputError
        If there is no launcher, or it belongs to an MPI that is not in `VERSIONS`.
    """
    search_paths = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    names = ("mpiexec", "mpirun")
    paths = [path for place in search_paths for name in names if (path := shutil.which(name, path=place))]
    if not paths:
        raise InputError(f"no mpiexec or mpirun was found in {search_paths[0]} or on PATH: {INSTALL_MPI}")
    path = os.path.abspath(paths[0])
    version_text = _output(path, "--version")
    for mpi, pattern in VERSIONS.items():
        match = pattern.search(version_text)
        if match:
            build = _output(f"{Path(path).parent}/ompi_info", "--parsable") if mpi == "Open MPI" else ""
            return Launcher(path, mpi, match[1], "ft_mpi_support:yes" in build)
    raise InputError(
        f"{path} is not a launcher of {', '.join(VERSIONS)} (its --version prints {version_text.strip()[:60]!r}): "
        "use it to start nnmpi directly, or put the launcher of one of these first on PATH"
    )


def _output(*words: str) -> str:
    """Return what a short command prints; "" if it cannot be run."""
    try:
        process = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout + process.stderr
