"""Build the command line that starts the ranks of a job."""

import os
import shlex
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nnmpi.errors import InputError
from nnmpi.launching.find_mpiexec import Launcher
from nnmpi.launching.hostfile import Host
from nnmpi.mpi.cores import cores, physical_core
from nnmpi.mpi.launcher import without_leftovers

# variables of the batch systems whose allocation Open MPI's launcher reads by itself
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
# Between hosts, a cut cable or a stopped rank closes no connection, so ranks send heartbeats. A separate thread sends
# them, because a computing rank would send none. A failure is broadcast, because otherwise some ranks would not learn
# of it.
HEARTBEAT = {
    "mpi_ft_detector": "1",
    "mpi_ft_detector_thread": "1",
    "mpi_ft_detector_period": "0.5",
    "mpi_ft_detector_timeout": "5",
    "mpi_ft_propagator_with_rbcast": "1",
}


@dataclass(frozen=True)
class Job:
    """The ranks to start: `ranks` times ``nnmpi`` with `arguments`, on the hosts of `hostfile`, or else on this host.

    ``fault_tolerance=None`` turns it on if the launcher supports it and the command can use it.
    """

    ranks: int
    arguments: tuple[str, ...]
    hostfile: Path | None = None
    tag_output: bool = False
    fault_tolerance: bool | None = None


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and the environment variables to set for it."""

    words: tuple[str, ...]
    variables: dict[str, str]

    def __str__(self) -> str:
        """Return the command as one line for a shell."""
        return " ".join([*(f"{name}={shlex.quote(v)}" for name, v in self.variables.items()), shlex.join(self.words)])

    @property
    def environment(self) -> dict[str, str]:
        """All environment variables of the process to start."""
        return {**without_leftovers(dict(os.environ)), **self.variables}


def program() -> tuple[str, ...]:
    """Return the words that run nnmpi, with an absolute path: Open MPI's launcher does not pass PATH to other hosts."""
    script = Path(sys.executable).with_name("nnmpi")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "nnmpi")


def command(launcher: Launcher, job: Job, hosts: list[Host]) -> Command:
    """Return the command that starts `job`; `hosts` are the hosts of its hostfile, if it has one.

    Raises
    ------
    InputError
        If fault tolerance is requested but the launcher does not support it.
    """
    if job.fault_tolerance and not launcher.fault_tolerance:
        raise InputError(f"--fault-tolerance: {launcher} was built without it; leave the flag out")
    return _start(launcher, job, hosts, *program(), *job.arguments)


def module_command(launcher: Launcher, ranks: int, module: str, *arguments: str) -> Command:
    """Return a command that starts `ranks` ranks of a Python module on this host, with this Python.

    Start it in an environment `without_allocation`, or the launcher may choose other hosts.
    """
    job = Job(ranks, (), fault_tolerance=False)
    return _start(launcher, job, [Host("localhost", None, "localhost")], sys.executable, "-m", module, *arguments)


def probe_command(launcher: Launcher, hostfile: Path, host: Host) -> Command:
    """Return a command that succeeds if the launcher can start this Python on `host`, the only host in `hostfile`."""
    return _start(launcher, Job(1, (), hostfile, fault_tolerance=False), [host], sys.executable, "-c", "pass")


def _start(launcher: Launcher, job: Job, hosts: list[Host], *words: str) -> Command:
    """Return the command that starts the program `words` as the ranks of `job`."""
    flags, variables = (_open_mpi if launcher.mpi == "Open MPI" else _hydra)(launcher, job, hosts)
    return Command((launcher.path, *flags, *words), variables)


def _open_mpi(launcher: Launcher, job: Job, hosts: list[Host]) -> tuple[list[str], dict[str, str]]:
    flags = ["-n", str(job.ranks)]
    if job.hostfile:
        flags += ["--hostfile", str(job.hostfile)]
    if _more_than_slots(job, hosts):
        flags += ["--map-by", ":OVERSUBSCRIBE"]
    # else it refuses, or binds several ranks to one core while others are free, or all threads of a rank to one core
    if _more_than_cores(job, hosts) or os.environ.get("SLURM_CPUS_PER_TASK", "1") not in ("", "1"):
        flags += ["--bind-to", "none"]
    # only train can continue without a rank, and info reports what train would get; other commands end at once
    survives = job.arguments[:1] in (("train",), ("info",)) if job.fault_tolerance is None else job.fault_tolerance
    if survives and launcher.fault_tolerance:
        flags += ["--with-ft", "ulfm"]
        if _several_hosts(hosts):
            flags += [word for name, value in HEARTBEAT.items() for word in ("--mca", name, value)]
            # the launcher's own keepalive would end the job 8 minutes after a host was cut off
            flags += ["--prtemca", "oob_tcp_keepalive_time", "0"]
    if job.tag_output:
        flags += ["--tag-output"] if launcher.version.startswith("4.") else ["--output", "tag"]
    root = os.geteuid() == 0  # it refuses to run as root, the only user in many containers
    return flags, {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if root else {}


def _hydra(launcher: Launcher, job: Job, hosts: list[Host]) -> tuple[list[str], dict[str, str]]:
    flags = ["-f", str(job.hostfile)] if job.hostfile else []
    if hosts and launcher.mpi == "Intel MPI":  # it ignores the 8 of "node01:8"
        flags += ["-ppn", str(_ranks_per_host(job.ranks, hosts))]
    if job.tag_output:
        flags += ["-prepend-rank"]
    # if there are more ranks than cores, it would pin several ranks to one core
    crowded = launcher.mpi == "Intel MPI" and _more_than_cores(job, hosts)
    return [*flags, "-n", str(job.ranks)], {"I_MPI_PIN": "off"} if crowded else {}


def _several_hosts(hosts: list[Host]) -> bool:
    """Return whether the job may have several hosts; of batch systems, only Slurm tells how many it allocated."""
    if hosts:
        return len({host.name for host in hosts}) > 1
    return _allocated() and os.environ.get("SLURM_JOB_NUM_NODES") != "1"


def _more_than_slots(job: Job, hosts: list[Host]) -> bool:
    """Return whether there are more ranks than slots; Open MPI counts cores where a hostfile gives no slots."""
    if hosts:
        return job.ranks > sum(host.slots or _physical_cores() for host in hosts)
    return not _allocated() and job.ranks > _physical_cores()


def _more_than_cores(job: Job, hosts: list[Host]) -> bool:
    """Return whether some host gets more ranks than it has cores, assuming that all hosts are like this one."""
    if hosts:
        slots: Counter[str] = Counter()
        for host in hosts:
            slots[host.name] += host.slots or 1
        return _more_than_slots(job, hosts) or min(job.ranks, max(slots.values())) > _physical_cores()
    return not _allocated() and job.ranks > _physical_cores()


def _allocated() -> bool:
    return any(name in os.environ for name in ALLOCATIONS)


def without_allocation(variables: dict[str, str]) -> dict[str, str]:
    """Return `variables` without those of batch systems: launchers would start the ranks on the hosts of the job."""
    batch = ("SLURM_", "PBS_", "LSB_", "PE_HOSTFILE")
    return {name: value for name, value in variables.items() if not name.startswith(batch)}


def _ranks_per_host(ranks: int, hosts: list[Host]) -> int:
    """Return how many ranks a host gets if the hostfile does not give a number."""
    return -(-ranks // len({host.name for host in hosts}))


def ranks_left(ranks: int, hosts: list[Host], remaining: list[Host]) -> int:
    """Return how many of `ranks` to start if only some `hosts` are `remaining`; no slot gets more ranks than before."""
    before, now = (sum(host.slots or _ranks_per_host(ranks, hosts) for host in group) for group in (hosts, remaining))
    return max(1, min(ranks, now) if ranks <= before else ranks * now // before)


def _physical_cores() -> int:
    """Return how many physical cores this process may use; the hardware threads of a core count once."""
    return len({physical_core(cpu) for cpu in cores()})
