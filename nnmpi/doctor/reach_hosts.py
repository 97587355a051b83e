"""Whether the launcher will be able to start ranks on the hosts of a hostfile: with ssh, as it does itself.

A launcher says little of a host that it cannot reach, says it late, or not at all.
"""

import os
import socket
import subprocess
import threading

from nnmpi import __version__
from nnmpi.doctor.finding import Finding
from nnmpi.launching.hostfile import Host
from nnmpi.launching.mpiexec_command import ALLOCATIONS, program

CONNECT = 5  # seconds for a connection
ANSWER = 20.0  # seconds for all of it: a name to look up, a slow login, a slow disk
AT_ONCE = 50  # hosts that are asked at the same time
SSH_FAILED, NOT_FOUND = 255, 127  # exit statuses
# with one of these the launcher starts its daemons with something else than ssh
OTHER_WAYS = (
    *("HYDRA_LAUNCHER", "HYDRA_BOOTSTRAP", "I_MPI_HYDRA_BOOTSTRAP"),
    *("PRTE_MCA_plm", "PRTE_MCA_plm_ssh_agent", "OMPI_MCA_plm", "OMPI_MCA_plm_ssh_agent", "OMPI_MCA_plm_rsh_agent"),
)
Answer = tuple[str, str] | None  # what is wrong and the remedy


def unreached(hosts: list[Host]) -> list[Finding]:
    """On which of `hosts` ssh does not start nnmpi, or not in this version; takes no longer than `ANSWER` for 50 hosts.

    Nobody is asked where the launcher uses something else than ssh: in the job of a batch system, or as variables say.
    """
    if any(name in os.environ for name in (*ALLOCATIONS, *OTHER_WAYS)):
        return []
    names = list({host.name: host for host in hosts}.values())
    late = (f"no answer within {ANSWER:.0f} s", "see what takes so long: ssh -v HOST true; and how names are looked up")
    answers: dict[str, Answer] = {}

    def ask(host: Host) -> None:
        answers[host.name] = None if is_here(host) else _ask(host)

    for some in (names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)):
        threads = [threading.Thread(target=ask, args=(host,), daemon=True) for host in some]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(ANSWER + CONNECT)
    alike: dict[tuple[str, str], list[str]] = {}
    for host in names:
        answer = answers.get(host.name, late)  # looking up a name cannot be cut short, but need not be waited for
        if answer:
            alike.setdefault(answer, []).append(host.name)
    return [
        Finding("problem", f"no rank can be started on {', '.join(some)}: {what}", remedy, "host_not_reached")
        for (what, remedy), some in alike.items()
    ]


def is_here(host: Host) -> bool:
    """Whether `host` is this one: a socket can be bound to its address."""
    name = host.name.rpartition("@")[2]
    if name in ("localhost", socket.gethostname()):
        return True
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(name, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def ssh_command(host: Host) -> list[str]:
    """The command that prints the version of nnmpi on `host`, with user and port as its line in the hostfile says."""
    options = dict(word.split("=", 1) for word in host.line.split()[1:] if "=" in word)
    more = [f"-p{options['port']}"] if "port" in options else []
    more += [f"-l{options['user']}"] if "user" in options else []
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}", "-n", *more, "--", host.name]
    return [*words, *program(), "--version"]


def _ask(host: Host) -> Answer:
    path = " ".join(program())
    try:
        done = subprocess.run(ssh_command(host), capture_output=True, text=True, errors="replace", timeout=ANSWER)
    except OSError as error:
        return f"ssh cannot be started ({error.strerror})", "install an ssh client"
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER:.0f} s", f"see what takes so long: ssh -v HOST {path} --version"
    said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1][:200]
    if done.returncode == SSH_FAILED:
        return said, "make ssh -o BatchMode=yes HOST true work: name, network, firewall, sshd, key (ssh-copy-id HOST)"
    if done.returncode:
        where = "at the same path as here" if done.returncode == NOT_FOUND else "there so that it runs"
        return f"{path} does not run ({said})", f"install nnmpi {where}"
    version = (done.stdout.split() or ["unknown"])[-1]
    if version != __version__:
        return f"nnmpi there is {version}, here it is {__version__}", "install the same version on all hosts"
    return None
