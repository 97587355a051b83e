"""A launcher that runs, and the signals that are passed on to it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from nnmpi.launching.mpiexec_command import Command
from nnmpi.mpi.host import children, process_name
from nnmpi.mpi.launcher import PROGRAMS

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT)
GRACE = 10  # seconds that a launcher has to end its ranks once it was told to


class SignalForwarder:
    """While entered, a signal that asks to stop is noted and passed on to what runs.

    A training gets SIGUSR1, whichever signal it was: launchers hand that on to the ranks, which finish their step and
    write a checkpoint, while Open MPI's ends them itself after SIGINT and SIGTERM. With `gently` False, and after
    another SIGINT or SIGQUIT, the launcher is told to end all at once.

    SIGTSTP (Ctrl-Z in a terminal) stops the ranks and this process, SIGCONT lets them go on.
    """

    def __init__(self, gently: bool) -> None:
        self._number = 0
        self._gently = gently
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "SignalForwarder":
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
                self._before[number] = signal.signal(number, self._note)
        more = {signal.SIGALRM: self._kill, signal.SIGTSTP: self._stop, signal.SIGCONT: self._go_on}
        for number, handler in more.items():
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.alarm(0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> int:
        """The first signal that asked to stop; 0 if there was none."""
        return self._number

    def run(self, command: Command, limit: float | None = None) -> int:
        """Run `command` to its end; its exit status, or 128 + the number of the signal that ended it.

        After `limit` seconds it is told to end.
        """
        self._process = start(command)
        if self._number:  # it came while the process was being started
            self._pass_on(at_once=False)
        try:
            status = self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._pass_on(at_once=True)
            status = self._process.wait()
        self._process = None
        signal.alarm(0)
        return status if status >= 0 else 128 - status

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until a signal comes."""
        end = time.monotonic() + seconds
        while not self._number and time.monotonic() < end:
            time.sleep(0.05)

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self._number = not self._number, self._number or number
        if first or number in (signal.SIGINT, signal.SIGQUIT):
            self._pass_on(at_once=not first or number == signal.SIGQUIT)

    def _pass_on(self, at_once: bool) -> None:
        if self._process and self._gently and not at_once:
            self._process.send_signal(signal.SIGUSR1)
        elif self._process:
            self._process.terminate()
            signal.alarm(GRACE)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._signal_ranks(signal.SIGTSTP, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        self._signal_ranks(signal.SIGCONT, signal.SIGCONT)

    def _signal_ranks(self, passed_on: int, direct: int) -> None:
        """Stop the ranks, or let them go on: Open MPI's launcher passes that on, Hydra would stop alone.

        Hydra's ranks on this host get the signal from us; those on others wait for these in the next step.
        """
        if self._process and process_name(self._process.pid).startswith("prte"):
            self._process.send_signal(passed_on)
        elif self._process:
            for pid in children(self._process.pid):
                if not process_name(pid).startswith(PROGRAMS):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, direct)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        if self._process:
            self._process.kill()


def start(command: Command, output: int | None = None) -> subprocess.Popen[bytes]:
    """Start `command`; its output goes where ours goes, or to `output`.

    It gets a process group of its own: a terminal sends its signals to a whole group, and what the launcher gets of
    them is for us to say. Should we be killed, it ends.
    """
    guard = (sys.executable, "-I", "-S", str(Path(__file__).with_name("end_with_parent.py")), str(os.getpid()))
    return subprocess.Popen(
        (*guard, *command.words),
        env=command.environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        process_group=0,
    )
