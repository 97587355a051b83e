"""Emulated hosts on this machine: each has its own network, name, IPC, mounts and process numbers, and runs sshd.

All of these namespaces are needed: with separate networks alone, Open MPI hangs and MPICH uses shared memory. The links
of the hosts end in a switch, a bridge in a network namespace of its own. So the hosts reach nothing outside, and no
interface remains after their processes have ended. The processes end with the process that started them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SSH_CLIENT = """Host *
  BatchMode yes
  IdentityFile /etc/ssh/user
  GlobalKnownHostsFile /etc/ssh/known_hosts
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  SendEnv PYTHONPATH PAUSE_* DIES_*
"""
SSH_SERVER = """HostKey /etc/ssh/host
AuthorizedKeysFile /etc/ssh/user.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
MaxStartups 100
AcceptEnv *
"""
PROGRAMS = ("bridge", "ip", "nsenter", "setpriv", "ssh", "ssh-keygen", "tc", "unshare", "/usr/sbin/sshd")
DAEMONS = ("munged", "sshd", "slurmctld", "slurmd")
# All hosts have the same cores, but do not know it. With binding, the first ranks of all hosts would share one core,
# and a waiting rank would slow down the others.
SHARED_CORES = {"PRTE_MCA_hwloc_default_binding_policy": "none", "OMPI_MCA_mpi_yield_when_idle": "1"}
# kills a process when the process that started it ends in any way
LEASH = ("setpriv", "--pdeathsig", "KILL")


def why_not() -> str:
    """Return why this machine cannot emulate hosts; "" if it can."""
    if os.geteuid():
        return "hosts need root, for their namespaces"
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        return f"hosts need {', '.join(missing)}: install tests/cluster/debian-packages"
    if subprocess.run(["unshare", "--net", "--pid", "--fork", "true"], capture_output=True).returncode:
        return "hosts need namespaces, which this container does not allow"
    return ""


def run(*command: object, timeout: float = 120) -> str:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


@dataclass
class Host:
    """An emulated host: its process 1, and the port of the switch to which it is connected."""

    name: str
    address: str
    port: str
    pid: int = 0

    def command(self, *words: str, cwd: Path | None = None) -> list[str]:
        """Return the command that runs `words` on this host."""
        namespaces = ("--net", "--uts", "--ipc", "--mount", "--pid")
        return ["nsenter", "-t", str(self.pid), *namespaces, "env", f"--chdir={cwd or '/'}", "TMPDIR=/tmp", *words]

    def run(self, *words: str, timeout: float = 120) -> str:
        return run(*self.command(*words), timeout=timeout)

    def path(self, path: str) -> Path:
        """Return the path by which this machine sees the file `path` of this host."""
        return Path(f"/proc/{self.pid}/root{path}")

    def processes(self) -> dict[int, str]:
        """Return the command lines of the processes of this host, except the daemons, by their process number outside.

        Zombies, which process 1 has not yet reaped, do not count: they have no command line.
        """
        pid_ns = os.readlink(f"/proc/{self.pid}/ns/pid")
        processes = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink(entry / "ns/pid") == pid_ns and (entry / "comm").read_text().strip() not in DAEMONS:
                        processes[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return {pid: line for pid, line in processes.items() if line}

    def rank_pid(self, rank: int) -> int:
        """Return the process of this rank of a job."""
        variables = {f"{name}={rank}".encode() for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK")}
        for pid in self.processes():
            with contextlib.suppress(OSError):
                if variables & set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
                    return pid
        raise AssertionError(f"no rank {rank} on {self.name}: {self.processes()}")

    def traffic(self) -> tuple[int, int]:
        """Return the bytes that the interface of this host has received and sent."""
        for line in Path(f"/proc/{self.pid}/net/dev").read_text().splitlines():
            if line.strip().startswith("eth0:"):
                words = line.split(":")[1].split()
                return int(words[0]), int(words[8])
        raise AssertionError("no eth0")


class Cluster:
    """The hosts node1, node2, … and the switch between them. All of them see `directory` and `shared`."""

    def __init__(self, directory: Path, shared: list[Path], number: int = 4) -> None:
        self.directory = directory
        self.hosts = [Host(f"node{i}", f"10.77.0.{i}", f"port{i}") for i in range(1, number + 1)]
        paths = {str(path.resolve()) for path in (*shared, directory)}
        self._shared = sorted(path for path in paths if path.startswith("/tmp/"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cluster":
        try:
            self._write_etc()
            self._processes["switch"] = subprocess.Popen([*LEASH, "unshare", "--net", "sleep", "infinity"])
            wait_for(lambda: has_own_network(self._processes["switch"].pid))
            self.on_switch("ip", "link", "add", "switch", "type", "bridge")
            self.on_switch("ip", "link", "set", "switch", "up")
            for host in self.hosts:
                self.switch_on(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for host in self.hosts:
            self._end(host)
        if "switch" in self._processes:
            self._processes["switch"].kill()
            self._processes["switch"].wait(60)

    def on_switch(self, *words: object) -> str:
        return run("nsenter", "-t", self._processes["switch"].pid, "--net", *words)

    def switch_on(self, host: Host) -> None:
        log = self.directory / f"{host.name}.log"
        namespaces = ("--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        init = (str(Path(__file__).with_name("host-init")), host.name, str(self.directory / "etc"), *self._shared)
        with log.open("wb") as output:
            command = [*LEASH, "unshare", *namespaces, "--propagation", "private", *init]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._processes[host.name] = process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_for(lambda: children.read_text().strip(), log)
        host.pid = int(children.read_text())
        wait_for(lambda: has_own_network(host.pid), log)
        # always the same hardware address, because the other hosts remember it
        eth0 = ("name", "eth0", "address", f"02:00:00:00:00:0{host.port[-1]}", "netns", host.pid)
        self.on_switch("ip", "link", "add", host.port, "type", "veth", "peer", *eth0)
        self.on_switch("ip", "link", "set", host.port, "master", "switch", "up")
        inside = ("nsenter", "-t", host.pid, "--net", "ip")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        wait_for(lambda: "Server listening" in log.read_text(), log)

    def power_off(self, host: Host) -> None:
        """End all processes of the host at once; other hosts are not notified."""
        self.drop_silently(host)
        self.crash(host)

    def crash(self, host: Host) -> None:
        """End all processes of the host at once; its system still closes their connections."""
        self._end(host)
        with contextlib.suppress(AssertionError):  # the port disappears with the host, but not at once
            self.on_switch("ip", "link", "delete", host.port)

    def _end(self, host: Host) -> None:
        """End process 1 of the host, and with it all others."""
        process = self._processes.pop(host.name, None)
        if process:
            if host.pid and process.poll() is None:
                os.kill(host.pid, signal.SIGKILL)
            process.wait(60)

    def link_down(self, host: Host) -> None:
        """Cut the link of the host."""
        self.on_switch("ip", "link", "set", host.port, "down")

    def drop_silently(self, host: Host) -> None:
        """Lose all frames of the host; its interface still has a carrier."""
        self.on_switch("bridge", "link", "set", "dev", host.port, "state", "0")

    def shape(self, rate: str, delay: str = "") -> None:
        """Give every link this rate in both directions, such as 1gbit, and this delay from host to host."""
        limit = ("tbf", "rate", rate, "burst", "128kb", "latency", "50ms")
        to_host = ("netem", "delay", delay, "rate", rate, "limit", "10000") if delay else limit
        for host in self.hosts:
            self._queue(host, limit, to_host)

    def _queue(self, host: Host, from_host: tuple[str, ...], to_host: tuple[str, ...]) -> None:
        set_queue = ("tc", "qdisc", "replace", "dev")
        self.on_switch(*set_queue, host.port, "root", *to_host)
        run("nsenter", "-t", host.pid, "--net", *set_queue, "eth0", "root", *from_host)

    def repair(self) -> None:
        """Restore all hosts and links to their state at the beginning."""
        for host in self.hosts:
            if host.name not in self._processes:
                self.switch_on(host)
            for pid in host.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.on_switch("ip", "link", "set", host.port, "up")
            self._queue(host, ("pfifo",), ("pfifo",))
            # the kernel notices a little later that the link is up, and before refuses the port's state
            wait_for(lambda host=host: " state UP " in self.on_switch("ip", "link", "show", host.port))
            self.on_switch("bridge", "link", "set", "dev", host.port, "state", "3")

    def _write_etc(self) -> None:
        ssh = self.directory / "etc/ssh"
        ssh.mkdir(parents=True)
        for key in ("user", "host"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", ssh / key)
        names = "\n".join(f"{host.address} {host.name}" for host in self.hosts)
        (self.directory / "etc/hosts").write_text(f"127.0.0.1 localhost\n{names}\n")
        (self.directory / "etc/resolv.conf").touch()  # without a name server, only these names are known
        (ssh / "known_hosts").write_text(f"* {(ssh / 'host.pub').read_text()}")
        (ssh / "ssh_config").write_text(SSH_CLIENT)
        (ssh / "sshd_config").write_text(SSH_SERVER)


def has_own_network(pid: int) -> bool:
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


def wait_for(condition: Callable[[], object], log: Path | None = None, timeout: float = 120) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, log.read_text() if log else f"condition not met after {timeout} s"
        time.sleep(0.02)
