"""Starting a training, and starting it again where that may help."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1

from nnmpi.files.run_status import Evidence, evidence, stamp
from nnmpi.launching.end_launcher import children
from nnmpi.launching.find_mpiexec import Launcher
from nnmpi.launching.forward_signals import SignalForwarder, start
from nnmpi.launching.hostfile import Host, write_hostfile
from nnmpi.launching.mpiexec_command import Job, call, command, ranks_left
from nnmpi.text import message

# somebody asked the ranks to stop
STOPPED = tuple(128 + number for number in (SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1))
BAD_INPUT = 2
LONGEST_PAUSE = 60  # seconds
ANSWER = 20  # seconds that a host has to answer
AT_ONCE = 50  # hosts that are asked at the same time


@dataclass(frozen=True)
class Failure:
    """An attempt that failed: the launcher's exit status, how far it came, and the hosts that no longer answer."""

    status: int
    found: Evidence
    lost: tuple[str, ...] = ()

    @property
    def from_outside(self) -> bool:
        """Whether the training itself is not to blame: a host is gone, or somebody killed a process."""
        return bool(self.lost) or self.status == 128 + SIGKILL

    def repeats(self, before: "Failure") -> bool:
        """Whether this is the failure `before` once more: another restart would end in it again.

        What is known of the place are the newest checkpoint and the last epoch. To fail twice without getting any
        further counts as the same place; a failure from outside has no place.
        """
        same = (self.found.begun, self.found.update) == (before.found.begun, before.found.update)
        return same and not (self.from_outside or before.from_outside)


def supervise(launcher: Launcher, job: Job, hosts: list[Host], restarts: int, directory: Path) -> int:
    """Run the training `job`, whose files are in `directory`, to its end, with up to `restarts` restarts.

    Returns the exit status: 0 if the files in `directory` say that it finished, whatever the launcher says; 128 + the
    number of the signal that stopped it; 2 for bad input; else the launcher's, 1 if that is 0.
    """
    failures: list[Failure] = []
    left = hosts
    resuming = False
    with SignalForwarder(gently=True) as signals, tempfile.TemporaryDirectory(prefix="nnmpi-") as scratch:
        while True:
            before = stamp(directory)
            attempt = replace(job, arguments=(*job.arguments, "--resume")) if resuming else job
            if hosts:
                write_hostfile(Path(scratch) / "hosts", left)
                attempt = replace(attempt, hostfile=Path(scratch) / "hosts", ranks=ranks_left(job.ranks, hosts, left))
            status = shell_status(launcher, signals.run(command(launcher, attempt, left)))
            seen = evidence(directory, before)
            if seen.finished:
                if status:
                    _note(f"the training finished; the launcher ended with status {status} all the same")
                return 0
            if signals.asked():
                return 128 + signals.asked()
            if status in (*STOPPED, BAD_INPUT):
                return status

            # only then are the files of this run; before, they may be of a finished run that a restart must not resume
            resuming = resuming or seen.begun
            what = f"the training failed {seen}{' or later' * seen.begun}, the launcher's exit status was {status}"
            if not (status or seen.begun):
                what = f"the training wrote nothing to {directory}, which must be the same for rank 0 as here"
            answering = hosts
            if len(failures) < restarts and len({host.name for host in hosts}) > 1:
                answering = _answering(launcher, hosts, Path(scratch), signals)
            lost = tuple(dict.fromkeys(host.name for host in left if host not in answering))
            failures.append(Failure(status or 1, seen, lost))
            left = answering
            if signals.asked():
                return 128 + signals.asked()
            hopeless = _hopeless(failures, restarts, hosts, left)
            if hopeless:
                print(f"nnmpi: {what}; {hopeless}", file=sys.stderr, flush=True)
                return status or 1

            pause = min(2 ** (len(failures) - 1), LONGEST_PAUSE)
            if lost:
                what += f"; no answer from {', '.join(lost)}"
            _note(f"{what}; restart {len(failures)} of {restarts} in {pause} s")
            signals.sleep(pause)
            if signals.asked():
                return 128 + signals.asked()


def once(launcher: Launcher, job: Job, hosts: list[Host], limit: float | None = None) -> int:
    """Run a command that leaves nothing to go on from, for `limit` seconds at most; its exit status."""
    began = time.monotonic()
    with SignalForwarder(gently=False) as signals, tempfile.TemporaryDirectory(prefix="nnmpi-") as scratch:
        if hosts:
            write_hostfile(Path(scratch) / "hosts", hosts)
            job = replace(job, hostfile=Path(scratch) / "hosts")
        status = shell_status(launcher, signals.run(command(launcher, job, hosts), limit))
        if limit and time.monotonic() - began >= limit:
            text = f"nnmpi: {launcher} did not end within {limit:.0f} s: it cannot start the ranks, or not end them"
            print(message(text), file=sys.stderr, flush=True)
            return 1
        return 128 + signals.asked() if status and signals.asked() else status


def _hopeless(failures: list[Failure], restarts: int, hosts: list[Host], left: list[Host]) -> str:
    """Why there is no other restart; nothing if there is one."""
    if len(failures) > 1 and failures[-1].repeats(failures[-2]):
        return "that is twice at the same place: not restarted"
    if len(failures) > restarts:
        return f"all --restarts {restarts} are used up" if restarts else "add --resume to go on, or --restarts"
    if hosts and not left:
        return "no host answers"
    return ""


def shell_status(launcher: Launcher, status: int) -> int:
    """The exit status as a shell gives it: Hydra's is the bare number of the signal that ended a rank."""
    return 128 + status if launcher.mpi != "Open MPI" and BAD_INPUT < status < 32 else status


def _answering(launcher: Launcher, hosts: list[Host], scratch: Path, signals: SignalForwarder) -> list[Host]:
    """Those of `hosts` on which the launcher can start a process now."""
    names = {host.name: host for host in hosts}
    answers: set[str] = set()
    for some in (list(names)[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)):
        tries: dict[str, subprocess.Popen[bytes]] = {}
        for name in some:
            alone = scratch / f"host{len(tries)}"
            write_hostfile(alone, [names[name]])
            tries[name] = start(call(launcher, alone, names[name]), subprocess.DEVNULL)
        end = time.monotonic() + ANSWER
        while any(process.poll() is None for process in tries.values()) and time.monotonic() < end:
            signals.sleep(0.05)
            if signals.asked():
                end = 0
        for name, process in tries.items():
            if process.poll() is None:
                for pid in (*children(process.pid), process.pid):  # it would leave the ssh to the host
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, SIGKILL)
            if process.wait() == 0:
                answers.add(name)
    return [host for host in hosts if host.name in answers]


def _note(text: str) -> None:
    print(message(f"nnmpi: note: {text}"), file=sys.stderr, flush=True)
