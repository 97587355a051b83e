"""Signals that ask a run to stop."""

import os
import signal
import sys
from pathlib import Path

import pytest
from jobs import program_path, run

from nnmpi.commands.signals import SIGNALS, StopRequest
from nnmpi.training.requests import Requests


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_noted(number: signal.Signals) -> None:
    with StopRequest(Requests()) as stop:
        assert stop.number == 0
        os.kill(os.getpid(), number)
        assert stop.number == number


def test_first_signal_counts() -> None:
    with StopRequest(Requests()) as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGUSR1


def test_second_interrupt_is_left_to_the_system() -> None:
    with StopRequest(Requests()):
        os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest(Requests()):
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.slow
def test_a_signal_that_reaches_another_thread_is_forwarded_all_the_same(tmp_path: Path) -> None:
    """After Ctrl-Z and fg, SIGCONT sometimes reached another thread, and the ranks stayed stopped."""
    done = run([sys.executable, program_path("forward_from_a_thread.py")], tmp_path, timeout=40).succeeded()
    assert done.out.split() == [str(128 + signal.SIGUSR1), str(int(signal.SIGTERM))]
