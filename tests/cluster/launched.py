"""Trainings that `nnmpi launch` starts on the hosts of a cluster."""

import json
from pathlib import Path

from hosts import SHARED_CORES, Host, wait_for
from jobs import Environment, Job

HOSTFILE_LINES = {"openmpi": "{} slots={}", "mpich": "{}:{}"}
OPEN_MPI_VARIABLES = (
    "OMPI_ALLOW_RUN_AS_ROOT",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
    "PRTE_MCA_rmaps_default_mapping_policy",
)
ENDS = 120  # seconds after which a training has ended, on a busy machine, too


def write_hostfile(path: Path, mpi: Environment, hosts: list[Host], ranks: int) -> Path:
    """A hostfile with so many ranks on each of `hosts`."""
    path.write_text("".join(HOSTFILE_LINES[mpi.mpi].format(host.name, ranks) + "\n" for host in hosts))
    return path


def launch(hosts: list[Host], ranks: int, mpi: Environment, directory: Path, *words: str) -> Job:
    """``nnmpi launch`` on the first of `hosts`, with so many ranks on each of them."""
    hostfile = write_hostfile(directory / "hostfile", mpi, hosts, ranks)
    # what tests on one host give to Open MPI: launch has to see to it itself
    plain = ("env", *(f"--unset={name}" for name in OPEN_MPI_VARIABLES))
    command = (
        *plain,
        mpi.program("nnmpi"),
        "launch",
        "-n",
        str(ranks * len(hosts)),
        "--hostfile",
        str(hostfile),
        *words,
    )
    return Job(hosts[0].command(*command, cwd=directory), directory, **SHARED_CORES)


def wait_for_epochs(job: Job, directory: Path, epochs: int) -> None:
    def done() -> bool:
        assert job.process.poll() is None, job.output()
        metrics = directory / "metrics.jsonl"
        return metrics.exists() and len(metrics.read_text().splitlines()) >= epochs

    wait_for(done, timeout=ENDS)


def wait_for_no_processes(hosts: list[Host]) -> None:
    wait_for(lambda: not any(host.processes() for host in hosts))


def read_config(directory: Path) -> dict[str, object]:
    return dict(json.loads((directory / "config.json").read_text()))
