"""Signals from a terminal, a scheduler or a user that ask a run to stop."""

import signal
import time
from types import FrameType
from typing import Any

from nnmpi.errors import CommandError
from nnmpi.launching.forward_signals import ECHO
from nnmpi.training.events import Requests

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class Stopped(CommandError):
    """A signal stopped the run; the exit status is 128 + the number of the signal, as in a shell."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message, shared=True)
        self.status = 128 + number


class StopRequest:
    """A context in which SIGTERM, SIGINT, SIGUSR1 and SIGHUP request a stop instead of ending the process.

    ``number`` is the first signal that came, 0 before. SIGHUP, sent when a terminal is closed, stays ignored under
    ``nohup``. A second SIGINT ends the process at once, even inside a library call, unless it is an echo of the first.
    """

    def __init__(self, requests: Requests) -> None:
        self.number = 0
        self._requests = requests
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.number = self.number or number
        self._requests.stop = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            time.sleep(ECHO)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
