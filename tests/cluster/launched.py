"""Trainings that `nnmpi launch` starts on the hosts of a cluster."""

import os
import time
from pathlib import Path

from hosts import SHARED_CORES, Host, wait_for
from jobs import Environment, Job, program_path

HOSTFILE_LINES = {"openmpi": "{} slots={}", "mpich": "{}:{}"}
OPEN_MPI_VARIABLES = (
    "OMPI_ALLOW_RUN_AS_ROOT",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
    "PRTE_MCA_rmaps_default_mapping_policy",
)
ENDS = 180  # seconds within which a training ends, even on a busy machine


def write_hostfile(path: Path, mpi: Environment, hosts: list[Host], ranks: list[int]) -> Path:
    """Write a hostfile with `ranks[i]` ranks on `hosts[i]`."""
    lines = [HOSTFILE_LINES[mpi.mpi].format(host.name, n) for host, n in zip(hosts, ranks, strict=True)]
    path.write_text("\n".join([*lines, ""]))
    return path


def launch(
    hosts: list[Host], ranks: int | list[int], mpi: Environment, directory: Path, *words: str, **variables: str
) -> Job:
    """Start ``nnmpi launch`` on the first of `hosts`, with `ranks` ranks on each host, or `ranks[i]` on host i."""
    ranks = [ranks] * len(hosts) if isinstance(ranks, int) else ranks
    hostfile = write_hostfile(directory / "hostfile", mpi, hosts, ranks)
    # tests on one host give these variables to Open MPI; nnmpi launch must set them itself
    unset = ("env", *(f"--unset={name}" for name in OPEN_MPI_VARIABLES))
    command = (
        *unset,
        mpi.program("nnmpi"),
        "launch",
        "-n",
        str(sum(ranks)),
        "--hostfile",
        str(hostfile),
        *words,
    )
    return Job(hosts[0].command(*command, cwd=directory), directory, **SHARED_CORES, **variables)


def importing(name: str) -> dict[str, str]:
    """Return the variables that let Python import ``programs/NAME/sitecustomize.py`` when it starts."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [program_path(name), os.environ.get("PYTHONPATH")]))}


def pausing(directory: Path, update: int) -> dict[str, str]:
    """Return the variables that let a training pause before an update, see `programs/pause_at_update`."""
    return {**importing("pause_at_update"), "PAUSE_AT": str(update), "PAUSE_FILE": str(directory / "pause")}


def wait_for_pause(directory: Path, ranks: int) -> None:
    wait_for(lambda: len(list(directory.glob("pause.*"))) == ranks, timeout=ENDS)


def end_pause(directory: Path) -> None:
    (directory / "pause").touch()


def wait_for_no_processes(hosts: list[Host]) -> None:
    end = time.monotonic() + 120
    while processes := {host.name: host.processes() for host in hosts if host.processes()}:
        assert time.monotonic() < end, processes
        time.sleep(0.05)
