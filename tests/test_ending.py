"""nnmpi ends a launcher that waits for an unreachable host."""

import subprocess
import sys
import time

import pytest

from nnmpi.launching.end_launcher import end, end_launcher

# ends at the second SIGTERM, as Open MPI's launcher does
STUBBORN = """
import signal, sys, time
first = lambda *_: signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGTERM, first)
print(flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.mark.slow
def test_further_signal_ends_it() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=pipe, stderr=pipe) as process:
        assert process.stdout
        process.stdout.readline()
        end(process.pid, 0.01, "note: waits for node7")
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 7
    assert errors == b"nnmpi: note: waits for node7\n"


def test_who_ends_by_itself_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2); raise SystemExit(5)"]) as process:
        started = time.monotonic()
        end(process.pid, 60, "node7")
        assert time.monotonic() - started < 30
        assert process.wait() == 5


def test_only_the_launcher_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent of this process is no launcher, and is not ended."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("would end our parent"))
    assert not end_launcher("node7", 0.01)
