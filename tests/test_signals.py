"""Signals that ask a run to stop."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from jobs import Job, program_path, run, wait_for_an_epoch

from nnmpi.commands.signals import SIGNALS, StopRequest
from nnmpi.training.events import Requests


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


@pytest.mark.parametrize("command", ["train", "launch"])
def test_an_interrupt_that_comes_twice_at_once_is_one(command: str, tmp_path: Path) -> None:
    """``timeout -s INT`` sends the signal to its child, and then to the whole group."""
    words = ("launch", "-n", "1", "--", "train") if command == "launch" else ("train",)
    train = [sys.executable, "-m", "nnmpi", *words, "--epochs", "1000000", "--output", "run"]
    with Job(train, tmp_path) as job:
        wait_for_an_epoch(job, tmp_path / "run")
        job.process.send_signal(signal.SIGINT)
        time.sleep(0.005)
        job.process.send_signal(signal.SIGINT)
        done = job.wait()
    assert done.status == 130
    assert "add --resume to go on" in done.err
    assert list((tmp_path / "run/checkpoints").glob("*.json"))


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
