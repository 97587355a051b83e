"""The command that starts the ranks of a job: what the launcher has to be told."""

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

# batch systems whose allocation Open MPI's launcher reads by itself
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
# Between hosts a cut cable or a stopped rank closes no connection: a heartbeat tells, from a thread of its own because
# a rank that computes would not beat, and spread as a broadcast because some ranks would never hear of it otherwise.
HEARTBEAT = {
    "mpi_ft_detector": "1",
    "mpi_ft_detector_thread": "1",
    "mpi_ft_detector_period": "0.3",
    "mpi_ft_detector_timeout": "1",
    "mpi_ft_propagator_with_rbcast": "1",
}


@dataclass(frozen=True)
class Job:
    """What is to be started: so many ranks of ``nnmpi`` with `arguments`, on the hosts of a hostfile or right here.

    ``fault_tolerance`` None is: where the launcher has it and the command can use it.
    """

    ranks: int
    arguments: tuple[str, ...]
    hostfile: Path | None = None
    tag_output: bool = False
    fault_tolerance: bool | None = None


@dataclass(frozen=True)
class Command:
    """A program with its arguments, and the variables that it needs besides those that are there."""

    words: tuple[str, ...]
    variables: dict[str, str]

    def __str__(self) -> str:
        """In one line, for a shell."""
        return " ".join([*(f"{name}={shlex.quote(v)}" for name, v in self.variables.items()), shlex.join(self.words)])

    @property
    def environment(self) -> dict[str, str]:
        """All variables of the process to be started."""
        return {**without_leftovers(dict(os.environ)), **self.variables}


def program() -> tuple[str, ...]:
    """``nnmpi`` by its absolute path, since Open MPI's launcher does not pass PATH on to other hosts."""
    beside = Path(sys.executable).with_name("nnmpi")
    return (str(beside),) if os.access(beside, os.X_OK) else (sys.executable, "-m", "nnmpi")


def command(launcher: Launcher, job: Job, hosts: list[Host]) -> Command:
    """The command that starts `job`; `hosts` are those of its hostfile, none where it has none.

    Raises
    ------
    InputError
        If fault tolerance is asked for that the launcher has not.
    """
    if job.fault_tolerance and not launcher.fault_tolerance:
        raise InputError(f"--fault-tolerance: {launcher} was built without it; leave the flag out")
    flags, variables = (_open_mpi if launcher.mpi == "Open MPI" else _hydra)(launcher, job, hosts)
    return Command((launcher.path, *flags, *program(), *job.arguments), variables)


def module_command(launcher: Launcher, ranks: int, module: str, *arguments: str) -> Command:
    """A command that starts ranks of a Python module on this host, with this Python."""
    job = command(launcher, Job(ranks, (), fault_tolerance=False), [])
    head = job.words[: len(job.words) - len(program())]
    return Command((*head, sys.executable, "-m", module, *arguments), job.variables)


def call(launcher: Launcher, hostfile: Path, host: Host) -> Command:
    """A command that succeeds if `host`, alone in `hostfile`, can start this Python."""
    one = command(launcher, Job(1, (), hostfile, fault_tolerance=False), [host])
    head = one.words[: len(one.words) - len(program())]
    return Command((*head, sys.executable, "-c", "pass"), one.variables)


def _open_mpi(launcher: Launcher, job: Job, hosts: list[Host]) -> tuple[list[str], dict[str, str]]:
    flags = ["-n", str(job.ranks)]
    if job.hostfile:
        flags += ["--hostfile", str(job.hostfile)]
    if _more_than_slots(job, hosts):
        flags += ["--map-by", ":OVERSUBSCRIBE"]
    # it would refuse, or give several ranks one core while others are free; and all threads of a rank one
    if _more_than_cores(job, hosts) or int(os.environ.get("SLURM_CPUS_PER_TASK", "1")) > 1:
        flags += ["--bind-to", "none"]
    # only training can go on without a rank; the other commands had better end at once
    survives = job.arguments[:1] in (("train",), ("info",)) if job.fault_tolerance is None else job.fault_tolerance
    if survives and launcher.fault_tolerance:
        flags += ["--with-ft", "ulfm"]
        if _several_hosts(hosts):
            flags += [word for name, value in HEARTBEAT.items() for word in ("--mca", name, value)]
            # the launcher's own keepalive would end the job 8 minutes after a host was cut off
            flags += ["--prtemca", "oob_tcp_keepalive_time", "0"]
    if job.tag_output:
        flags += ["--tag-output"] if launcher.version.startswith("4.") else ["--output", "tag"]
    root = os.geteuid() == 0  # it refuses root, who is the only user in many containers
    return flags, {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if root else {}


def _hydra(launcher: Launcher, job: Job, hosts: list[Host]) -> tuple[list[str], dict[str, str]]:
    flags = ["-f", str(job.hostfile)] if job.hostfile else []
    if hosts and launcher.mpi == "Intel MPI":  # of "node01:8" it takes the name alone
        flags += ["-ppn", str(_each(job.ranks, hosts))]
    if job.tag_output:
        flags += ["-prepend-rank"]
    # where ranks share cores it would pin some of them to the same one
    crowded = launcher.mpi == "Intel MPI" and _more_than_cores(job, hosts)
    return [*flags, "-n", str(job.ranks)], {"I_MPI_PIN": "off"} if crowded else {}


def _several_hosts(hosts: list[Host]) -> bool:
    """Whether the job may have more than one host: what batch systems but Slurm allocate is not known here."""
    if hosts:
        return len({host.name for host in hosts}) > 1
    return _allocated() and os.environ.get("SLURM_JOB_NUM_NODES") != "1"


def _more_than_slots(job: Job, hosts: list[Host]) -> bool:
    """Whether Open MPI has to be told that ranks may share cores; a hostfile without slots means cores."""
    if hosts:
        return job.ranks > sum(host.slots or _physical_cores() for host in hosts)
    return not _allocated() and job.ranks > _physical_cores()


def _more_than_cores(job: Job, hosts: list[Host]) -> bool:
    """Whether some host gets more ranks than it has cores, if all hosts are like this one."""
    if hosts:
        slots: Counter[str] = Counter()
        for host in hosts:
            slots[host.name] += host.slots or 1
        return _more_than_slots(job, hosts) or min(job.ranks, max(slots.values())) > _physical_cores()
    return not _allocated() and job.ranks > _physical_cores()


def _allocated() -> bool:
    return any(name in os.environ for name in ALLOCATIONS)


def _each(ranks: int, hosts: list[Host]) -> int:
    """How many ranks a host gets where the hostfile does not say."""
    return -(-ranks // len({host.name for host in hosts}))


def ranks_left(ranks: int, hosts: list[Host], left: list[Host]) -> int:
    """How many of `ranks` on `hosts` to start on those that are `left`: no more to a slot than there were before."""
    before, now = (sum(host.slots or _each(ranks, hosts) for host in some) for some in (hosts, left))
    return max(1, min(ranks, now) if ranks <= before else ranks * now // before)


def _physical_cores() -> int:
    """The cores that this process may use; those of a core's threads that share it count once."""
    return len({physical_core(cpu) for cpu in cores()})
