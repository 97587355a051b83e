"""Start a training, and restart it after a failure if that may help."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1

from nnmpi.files.run_status import RunStatus, read_status, stamp
from nnmpi.launching.find_mpiexec import UNSET_SLURM, Launcher
from nnmpi.launching.forward_signals import SignalForwarder, start
from nnmpi.launching.hostfile import Host, hostfile_in_memory
from nnmpi.launching.mpiexec_command import Job, command, probe_command, ranks_left
from nnmpi.mpi.host import children
from nnmpi.text import message

# exit statuses after a signal that asked the ranks to stop
STOPPED = tuple(128 + number for number in (SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1))
BAD_INPUT = 2
LONGEST_PAUSE = 60  # seconds
ANSWER = 20  # seconds for a host to answer
AT_ONCE = 50  # hosts that are probed at the same time
START = 60.0  # seconds: a job that fails within this time, before the training begins, may have failed to start MPI


@dataclass(frozen=True)
class Failure:
    """A failed attempt: the launcher's exit status, how far the run got, and the hosts that no longer answer."""

    status: int
    run: RunStatus
    lost: tuple[str, ...] = ()

    @property
    def from_outside(self) -> bool:
        """Whether the cause is outside the training: a host is lost, or a process was killed."""
        return bool(self.lost) or self.status == 128 + SIGKILL

    def repeats(self, before: "Failure") -> bool:
        """Return whether this attempt failed at the same place as `before`, so that a restart would fail again.

        The place is known only from the newest checkpoint and the last epoch. An attempt that got no further counts as
        the same place. A failure with a cause outside the training has no place.
        """
        same_place = (self.run.begun, self.run.update) == (before.run.begun, before.run.update)
        return same_place and not (self.from_outside or before.from_outside)


def supervise(launcher: Launcher, job: Job, hosts: list[Host], restarts: int, directory: Path) -> int:
    """Run the training `job`, which writes to `directory`, and restart it up to `restarts` times.

    Returns the exit status: 0 if the files in `directory` say that the training finished, even if the launcher failed;
    128 + the number of the signal that stopped it; 2 for bad input; else the launcher's exit status, or 1 if that is 0.
    """
    failures: list[Failure] = []
    remaining = hosts
    resuming = started_again = False
    with SignalForwarder(gently=True) as signals, contextlib.ExitStack() as files:
        while True:
            old_stamp = stamp(directory)
            attempt = replace(job, arguments=(*job.arguments, "--resume")) if resuming else job
            if hosts:
                hostfile = files.enter_context(hostfile_in_memory(remaining))
                attempt = replace(attempt, hostfile=hostfile, ranks=ranks_left(job.ranks, hosts, remaining))
            start_command, began = command(launcher, attempt, remaining), time.monotonic()
            status = shell_status(launcher, signals.run(start_command))
            run = read_status(directory, old_stamp)
            if run.finished:
                if status:
                    _print_note(f"the training finished; ignore the exit status {status} of the launcher")
                return 0
            if signals.stop_signal():
                return 128 + signals.stop_signal()
            if status in (*STOPPED, BAD_INPUT):
                return status

            # with the heartbeat Open MPI may crash while it starts; mpi/start.py prevents the known crash of 5.0
            may_have_crashed = "mpi_ft_detector" in start_command.words and status and not run.begun
            if may_have_crashed and not started_again and time.monotonic() - began < START:
                started_again = True
                _print_note(
                    "the training failed before it began; MPI may have crashed while it started: starting again"
                )
                continue

            # until this run has begun, the files may belong to a finished run, which a restart must not resume
            resuming = resuming or run.begun
            problem = f"the training failed {run}{' or later' * run.begun} (exit status of the launcher: {status})"
            if not (status or run.begun):
                problem = f"the training wrote nothing to {directory}: rank 0 must see the same directory as this host"
            answering = hosts
            if (len(failures) < restarts or not run.begun) and len({host.name for host in hosts}) > 1:
                answering = _answering_hosts(launcher, hosts, signals)
            lost = tuple(dict.fromkeys(host.name for host in remaining if host not in answering))
            problem += f"; no answer from {', '.join(lost)}" if lost else ""
            failures.append(Failure(status or 1, run, lost))
            remaining = answering
            if signals.stop_signal():
                return 128 + signals.stop_signal()
            reason = _why_no_restart(failures, restarts, hosts, remaining)
            if reason:
                print(message(f"nnmpi: {problem}; {reason}"), file=sys.stderr, flush=True)
                return status or 1

            pause = min(2 ** (len(failures) - 1), LONGEST_PAUSE)
            _print_note(f"{problem}; restart {len(failures)} of {restarts} in {pause} s")
            signals.sleep(pause)
            if signals.stop_signal():
                return 128 + signals.stop_signal()


def once(launcher: Launcher, job: Job, hosts: list[Host], limit: float | None = None) -> int:
    """Run a command that cannot be resumed, for at most `limit` seconds; return its exit status."""
    began = time.monotonic()
    with SignalForwarder(gently=False) as signals, contextlib.ExitStack() as files:
        if hosts:
            job = replace(job, hostfile=files.enter_context(hostfile_in_memory(hosts)))
        status = shell_status(launcher, signals.run(command(launcher, job, hosts), limit))
        if limit and time.monotonic() - began >= limit:
            reason = "it could not start the ranks, or could not end them"
            print(message(f"nnmpi: {launcher} did not end within {limit:.0f} s: {reason}"), file=sys.stderr, flush=True)
            return 1
        return 128 + signals.stop_signal() if status and signals.stop_signal() else status


def _why_no_restart(failures: list[Failure], restarts: int, hosts: list[Host], remaining: list[Host]) -> str:
    """Return why the training is not restarted; "" if it is."""
    if len(failures) > 1 and failures[-1].repeats(failures[-2]):
        return "this is the second failure at the same place, so it is not restarted again"
    if len(failures) > restarts:
        if not failures[-1].run.begun and not hosts and "SLURM_JOB_ID" in os.environ:
            return f"if Slurm job {os.environ['SLURM_JOB_ID']} has ended, {UNSET_SLURM}"
        if restarts:
            return f"all --restarts {restarts} are used up"
        begun = failures[-1].run.begun
        return "add --resume to continue, or --restarts" if begun else "nnmpi launch … -- info looks for the cause"
    if hosts and not remaining:
        return "no host answers"
    return ""


def shell_status(launcher: Launcher, status: int) -> int:
    """Return the exit status as a shell gives it. Hydra returns the bare number of the signal that ended a rank."""
    return 128 + status if launcher.mpi != "Open MPI" and BAD_INPUT < status < 32 else status


def _answering_hosts(launcher: Launcher, hosts: list[Host], signals: SignalForwarder) -> list[Host]:
    """Return the hosts on which the launcher can start a process now."""
    by_name = {host.name: host for host in hosts}
    answering: set[str] = set()
    for batch in (list(by_name)[i : i + AT_ONCE] for i in range(0, len(by_name), AT_ONCE)):
        with contextlib.ExitStack() as files:
            probes: dict[str, subprocess.Popen[bytes]] = {}
            for name in batch:
                hostfile = files.enter_context(hostfile_in_memory([by_name[name]]))
                probes[name] = start(probe_command(launcher, hostfile, by_name[name]), subprocess.DEVNULL)
            end = time.monotonic() + ANSWER
            while any(process.poll() is None for process in probes.values()) and time.monotonic() < end:
                signals.sleep(0.05)
                if signals.stop_signal():
                    end = 0
            for name, process in probes.items():
                if process.poll() is None:
                    for pid in (*children(process.pid), process.pid):  # the launcher alone would leave its ssh running
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, SIGKILL)
                if process.wait() == 0:
                    answering.add(name)
    return [host for host in hosts if host.name in answering]


def _print_note(text: str) -> None:
    print(message(f"nnmpi: note: {text}"), file=sys.stderr, flush=True)
