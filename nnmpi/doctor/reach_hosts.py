"""Test whether the launcher can start ranks on the hosts of a hostfile, with ssh, as the launcher does.

A launcher reports a host that it cannot reach late, without details, or not at all.
"""

import os
import socket
import subprocess
import threading
import time

from nnmpi import __version__
from nnmpi.doctor.finding import Finding
from nnmpi.launching.hostfile import Host
from nnmpi.launching.mpiexec_command import ALLOCATIONS, program

CONNECT = 5  # seconds for a connection
ANSWER = 20.0  # seconds in all, enough for a name lookup, a slow login and a slow disk
AT_ONCE = 50  # hosts that are tested at the same time
SSH_FAILED, NOT_FOUND = 255, 127  # exit statuses
# if one of these variables is set, the launcher does not start its daemons with ssh, or not with plain ssh
OTHER_WAYS = (
    *("HYDRA_LAUNCHER", "HYDRA_BOOTSTRAP", "I_MPI_HYDRA_BOOTSTRAP"),
    *("PRTE_MCA_plm", "PRTE_MCA_plm_ssh_agent", "OMPI_MCA_plm", "OMPI_MCA_plm_ssh_agent", "OMPI_MCA_plm_rsh_agent"),
)
Answer = tuple[str, str] | None  # the problem and its remedy; None if there is no problem


def unreached(hosts: list[Host]) -> list[Finding]:
    """Find the hosts on which ssh cannot start nnmpi in this version; takes up to about `ANSWER` s for `AT_ONCE` hosts.

    No host is tested if the launcher does not use ssh: in the job of a batch system, or if a variable says so.
    """
    if any(name in os.environ for name in (*ALLOCATIONS, *OTHER_WAYS)):
        return []
    distinct = list({host.name: host for host in hosts}.values())
    timeout = (
        f"no answer within {ANSWER:.0f} s",
        "see what takes so long: ssh -v HOST true; also check how names are looked up",
    )
    answers: dict[str, Answer] = {}

    def test(host: Host) -> None:
        answers[host.name] = None if is_here(host) else _test(host)

    for batch in (distinct[i : i + AT_ONCE] for i in range(0, len(distinct), AT_ONCE)):
        threads = [threading.Thread(target=test, args=(host,), daemon=True) for host in batch]
        for thread in threads:
            thread.start()
        end = time.monotonic() + ANSWER + CONNECT
        for thread in threads:
            thread.join(max(0, end - time.monotonic()))
    hosts_by_answer: dict[tuple[str, str], list[str]] = {}
    for host in distinct:
        answer = answers.get(host.name, timeout)  # a name lookup has no time limit of its own
        if answer:
            hosts_by_answer.setdefault(answer, []).append(host.name)
    return [
        Finding("problem", f"no rank can be started on {', '.join(names)}: {problem}", remedy, "host_not_reached")
        for (problem, remedy), names in hosts_by_answer.items()
    ]


def is_here(host: Host) -> bool:
    """Return whether `host` is this host: only then can a socket be bound to its address."""
    name = host.name.rpartition("@")[2]
    if name in ("localhost", socket.gethostname()):
        return True
    try:
        family, socket_type, protocol, _, address = socket.getaddrinfo(name, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket_type, protocol) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def ssh_command(host: Host) -> list[str]:
    """Return the command that prints the version of nnmpi on `host`, with user and port of its line in the hostfile."""
    options = dict(word.split("=", 1) for word in host.line.split()[1:] if "=" in word)
    flags = [f"-p{options['port']}"] if "port" in options else []
    flags += [f"-l{options['user']}"] if "user" in options else []
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT}", "-n", *flags, "--", host.name]
    return [*words, *program(), "--version"]


def _test(host: Host) -> Answer:
    path = " ".join(program())
    try:
        process = subprocess.run(ssh_command(host), capture_output=True, text=True, errors="replace", timeout=ANSWER)
    except OSError as error:
        return f"ssh cannot be started ({error.strerror})", "install an ssh client"
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER:.0f} s", f"see what takes so long: ssh -v HOST {path} --version"
    status = process.returncode
    output = (process.stderr.strip() or process.stdout.strip() or f"exit status {status}").splitlines()[-1][:200]
    if status == SSH_FAILED:
        return output, "make ssh -o BatchMode=yes HOST true work: name, network, firewall, sshd, key (ssh-copy-id HOST)"
    if status:
        how = "at the same path as here" if status == NOT_FOUND else "there so that it runs"
        return f"{path} does not run ({output})", f"install nnmpi {how}"
    version = (process.stdout.split() or ["unknown"])[-1]
    if version != __version__:
        return f"nnmpi there is {version}, here it is {__version__}", "install the same version on all hosts"
    return None
