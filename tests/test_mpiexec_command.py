"""The flags that Open MPI's launcher gets for the heartbeat between hosts and for binding ranks to cores."""

from pathlib import Path

import pytest

from nnmpi.launching import mpiexec_command
from nnmpi.launching.find_mpiexec import Launcher
from nnmpi.launching.hostfile import Host
from nnmpi.launching.mpiexec_command import HEARTBEAT, Job, command

OPEN_MPI = Launcher("/mpi/mpiexec", "Open MPI", "5.0.11", True)
WITHOUT_ULFM = Launcher("/mpi/mpiexec", "Open MPI", "4.1.4", False)
MPICH = Launcher("/mpi/mpiexec", "MPICH", "5.0.2", False)
INTEL = Launcher("/mpi/mpiexec", "Intel MPI", "2021", False)
ONE = [Host("a", 4, "a slots=4")]
TWO = [Host("a", 4, "a slots=4"), Host("b", 4, "b slots=4")]
FILE = Path("hosts")
SLURM = {"SLURM_JOB_ID": "7"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend a machine with four cores and no batch system."""
    monkeypatch.setattr(mpiexec_command, "_physical_cores", lambda: 4)
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "SLURM_JOB_NUM_NODES", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


def flags(launcher: Launcher, job: Job, hosts: list[Host]) -> str:
    return " ".join(command(launcher, job, hosts).words)


HEARTBEAT_WORDS = " ".join(f"--mca {name} {value}" for name, value in HEARTBEAT.items())

BEATS = {
    "two hosts": (Job(8, ("train",), FILE), TWO, {}, True),
    "one host": (Job(4, ("train",), FILE), ONE, {}, False),
    "a host that is named twice": (Job(8, ("train",), FILE), ONE + ONE, {}, False),
    "no hostfile": (Job(4, ("train",)), [], {}, False),
    "two nodes of Slurm": (Job(8, ("train",)), [], SLURM | {"SLURM_JOB_NUM_NODES": "2"}, True),
    "one node of Slurm": (Job(4, ("train",)), [], SLURM | {"SLURM_JOB_NUM_NODES": "1"}, False),
    "PBS, which does not say": (Job(4, ("train",)), [], {"PBS_JOBID": "7"}, True),
    "a command that cannot go on": (Job(8, ("evaluate", "run"), FILE), TWO, {}, False),
    "no fault tolerance": (Job(8, ("train",), FILE, fault_tolerance=False), TWO, {}, False),
}


@pytest.mark.parametrize("case", BEATS)
def test_ranks_of_several_hosts_have_a_heartbeat(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job, hosts, variables, beats = BEATS[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    words = flags(OPEN_MPI, job, hosts)
    assert (f"--with-ft ulfm {HEARTBEAT_WORDS} --prtemca oob_tcp_keepalive_time 0" in words) == beats
    assert ("mpi_ft_detector" in words) == beats


def test_the_heartbeat_is_a_thread_that_all_hear_of() -> None:
    assert HEARTBEAT["mpi_ft_detector_thread"] == "1"  # otherwise a rank that computes for long is declared dead
    assert HEARTBEAT["mpi_ft_propagator_with_rbcast"] == "1"  # otherwise rank 0 is not told that a host is cut off
    assert float(HEARTBEAT["mpi_ft_detector_timeout"]) > 3 * float(HEARTBEAT["mpi_ft_detector_period"])


@pytest.mark.parametrize("launcher", [WITHOUT_ULFM, MPICH, INTEL], ids=lambda launcher: launcher.mpi)
def test_launchers_without_fault_tolerance_are_not_asked_for_it(launcher: Launcher) -> None:
    assert "ft" not in flags(launcher, Job(8, ("train",), FILE), TWO).replace("left", "")


BINDING = {
    "as many ranks as cores": (Job(4, ("train",)), [], {}, False),
    "more ranks than cores": (Job(5, ("train",)), [], {}, True),
    "a core a rank in Slurm": (Job(64, ("train",)), [], SLURM | {"SLURM_CPUS_PER_TASK": "1"}, False),
    "several cores a rank in Slurm": (Job(8, ("train",)), [], SLURM | {"SLURM_CPUS_PER_TASK": "4"}, True),
    "an empty variable": (Job(8, ("train",)), [], SLURM | {"SLURM_CPUS_PER_TASK": ""}, False),
    "hosts with as many slots as cores": (Job(8, ("train",), FILE), TWO, {}, False),
    "hosts with more slots than cores": (Job(16, ("train",), FILE), [Host("a", 16, "a slots=16")], {}, True),
    "more ranks than slots": (Job(9, ("train",), FILE), TWO, {}, True),
}


@pytest.mark.parametrize("case", BINDING)
def test_ranks_are_not_bound_where_cores_are_shared_or_each_has_several(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, hosts, variables, unbound = BINDING[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("--bind-to none" in flags(OPEN_MPI, job, hosts)) == unbound
