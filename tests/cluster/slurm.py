"""Slurm on the hosts of a cluster: the controller runs on the first host, and each host is a node."""

import re
import shutil
import subprocess
from pathlib import Path

from hosts import LEASH, SHARED_CORES, Cluster, Host, run, wait_for

PROGRAMS = ("munged", "sbatch", "slurmctld", "slurmd", "srun")
# Short waits make the tests short. Each node has 4 CPUs, although all hosts share the cores of this machine.
CONFIGURATION = """ClusterName=test
SlurmctldHost={controller.name}({controller.address})
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={directory}/munge.socket,cred_expire=5
StateSaveLocation={directory}/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1
ReturnToService=2
SlurmdTimeout=10
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MailProg=/bin/true
{nodes}
PartitionName=main Nodes={names} Default=YES State=UP PriorityTier=1 GraceTime=4
PartitionName=urgent Nodes={names} State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str:
    """Return why Slurm cannot run on this machine; "" if it can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    return f"Slurm needs {', '.join(missing)}: install tests/cluster/debian-packages" if missing else ""


class Slurm:
    """Slurm's commands, run on the first host of `cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.directory = cluster.directory / "slurm"
        self._daemons: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Slurm":
        self.directory.mkdir()
        (self.directory / "state").mkdir()
        key = self.directory / "munge.key"
        key.write_bytes(bytes(range(128)))
        key.chmod(0o600)
        nodes = [f"NodeName={h.name} NodeAddr={h.address} CPUs=4 RealMemory=2000" for h in self.cluster.hosts]
        names = ",".join(host.name for host in self.cluster.hosts)
        fields = {"controller": self.cluster.hosts[0], "directory": self.directory}
        text = CONFIGURATION.format(**fields, nodes="\n".join(nodes), names=names)
        (self.directory / "slurm.conf").write_text(text)
        (self.directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._daemons.values():
            process.kill()
            process.wait(60)

    def start(self) -> None:
        """Start the daemons that are not running, and wait until all nodes are idle."""
        first = self.cluster.hosts[0]
        munge = {"socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log", "seed-file": "munge.seed"}
        files = [f"--{name}={self.directory}/{file}" for name, file in munge.items()]
        self._daemon(first, "munged", "--foreground", "--force", f"--key-file={self.directory}/munge.key", *files)
        wait_for((self.directory / "munge.socket").exists)
        self._daemon(first, "slurmctld", "-D")
        for host in self.cluster.hosts:
            self._daemon(host, "slurmd", "-D", "-N", host.name)
        log = self.directory / "slurmctld.log"
        wait_for(lambda: self("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(self.cluster.hosts)), log, 60)

    def clear(self) -> None:
        """End all jobs."""
        self("scancel", "--user=root")
        wait_for(lambda: not self("squeue", "-h"), timeout=60)

    def command(self, *words: str, cwd: Path | None = None) -> list[str]:
        """Return the command that runs `words` on the first host, where a user of Slurm would log in."""
        settings = (f"SLURM_CONF={self.directory}/slurm.conf", *(f"{n}={v}" for n, v in SHARED_CORES.items()))
        return self.cluster.hosts[0].command("env", *settings, *words, cwd=cwd)

    def __call__(self, *words: str, cwd: Path | None = None, timeout: float = 180) -> str:
        """Run a command of Slurm and return its output."""
        return run(*self.command(*words, cwd=cwd), timeout=timeout)

    def state(self, job: str) -> str:
        """Return the state of a job: PENDING, RUNNING, COMPLETED, …"""
        return re.findall(r"JobState=(\w+)", self("scontrol", "show", "job", job))[0]

    def _daemon(self, host: Host, *command: str) -> None:
        key = (host.name, command[0])
        if key not in self._daemons or self._daemons[key].poll() is not None:
            with (self.directory / f"{command[0]}-{host.name}.out").open("ab") as output:
                words = [*LEASH, *host.command("env", f"SLURM_CONF={self.directory}/slurm.conf", *command)]
                self._daemons[key] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
