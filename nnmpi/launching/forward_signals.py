"""Run a launcher and forward signals to it."""

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
PERIOD = 0.5  # seconds between two looks at the launcher
GRACE = 10  # seconds for a launcher to end its ranks after it was told to
ECHO = 0.1  # seconds: a signal may come twice, as `timeout` sends it to its child and then to the whole group


class SignalForwarder:
    """While entered, remember the first signal that asks to stop, and forward it to the running launcher.

    The launcher of a training gets SIGUSR1, whichever signal came. Launchers forward SIGUSR1 to the ranks, which finish
    their step and write a checkpoint. After SIGINT and SIGTERM, Open MPI's launcher would end the ranks itself. With
    `gently` False, and after SIGQUIT or a further SIGINT, the launcher is told to end everything at once. It is killed
    if it takes longer than `GRACE`.

    SIGTSTP (Ctrl-Z in a terminal) stops the ranks and this process, SIGCONT lets them continue.
    """

    def __init__(self, gently: bool) -> None:
        self._stop_signal = 0
        self._echo_until = 0.0
        self._gently = gently
        self._process: subprocess.Popen[bytes] | None = None
        self._old_handlers: dict[int, Any] = {}

    def __enter__(self) -> "SignalForwarder":
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
                self._old_handlers[number] = signal.signal(number, self._on_stop_signal)
        others = {signal.SIGALRM: self._kill, signal.SIGTSTP: self._suspend, signal.SIGCONT: self._continue}
        for number, handler in others.items():
            self._old_handlers[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.alarm(0)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def stop_signal(self) -> int:
        """Return the first signal that asked to stop; 0 if none came."""
        return self._stop_signal

    def run(self, command: Command, limit: float | None = None) -> int:
        """Run `command`; return its exit status, or 128 + the number of the signal that ended it.

        After `limit` seconds, `command` is told to end.
        """
        self._process = start(command)
        if self._stop_signal:  # it came while the process was being started
            self._forward(at_once=False)
        end = None if limit is None else time.monotonic() + limit
        # Only the main thread runs handlers. A signal that reaches a thread of BLAS does not interrupt a system call of
        # the main thread, so it never waits for long.
        while (status := self._poll()) is None:
            if end and time.monotonic() > end:
                self._forward(at_once=True)
                end = None
        self._process = None
        signal.alarm(0)
        return status if status >= 0 else 128 - status

    def _poll(self) -> int | None:
        """Wait for the launcher for at most `PERIOD` seconds; return its exit status, or None if it still runs."""
        assert self._process
        try:
            return self._process.wait(PERIOD)
        except subprocess.TimeoutExpired:
            return None

    def sleep(self, seconds: float) -> None:
        """Sleep until a signal asks to stop, but no longer than `seconds`."""
        end = time.monotonic() + seconds
        while not self._stop_signal and time.monotonic() < end:
            time.sleep(0.05)

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._stop_signal:
            self._stop_signal, self._echo_until = number, time.monotonic() + ECHO
            self._forward(at_once=number == signal.SIGQUIT)
        elif number == signal.SIGQUIT or (number == signal.SIGINT and time.monotonic() > self._echo_until):
            self._forward(at_once=True)

    def _forward(self, at_once: bool) -> None:
        if self._process and self._gently and not at_once:
            self._process.send_signal(signal.SIGUSR1)
        elif self._process:
            self._process.terminate()
            signal.alarm(GRACE)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        self._signal_ranks(signal.SIGTSTP, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)

    def _continue(self, number: int, frame: FrameType | None) -> None:
        self._signal_ranks(signal.SIGCONT, signal.SIGCONT)

    def _signal_ranks(self, to_launcher: int, to_rank: int) -> None:
        """Suspend or continue the ranks. Open MPI's launcher forwards the signal to them; Hydra would only stop itself.

        So Hydra's ranks on this host get a signal from this process. Its ranks on other hosts wait for them in the next
        step.
        """
        if self._process and process_name(self._process.pid).startswith("prte"):
            self._process.send_signal(to_launcher)
        elif self._process:
            for pid in children(self._process.pid):
                if not process_name(pid).startswith(PROGRAMS):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, to_rank)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        if self._process:
            self._process.kill()


def start(command: Command, output: int | None = None) -> subprocess.Popen[bytes]:
    """Start `command`; its output goes to the output of this process, or to `output`.

    The command gets its own process group. A terminal sends its signals to a whole group, and this process decides
    which of them the command gets. If this process is killed, the command gets SIGTERM.
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
