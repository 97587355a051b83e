"""If files of a run cannot be opened, written or closed, no thread and no lock is left behind."""

import errno
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from jobs import variables

import nnmpi
from nnmpi.errors import InputError, RunError
from nnmpi.files.checkpoint_writer import CheckpointWriter
from nnmpi.files.run_log import RunLog
from nnmpi.training import output

SMALL: dict[str, Any] = {"hidden": (8,), "epochs": 1}


def fail(*arguments: Any) -> None:
    if hasattr(arguments[0], "_metrics"):
        arguments[0]._metrics.close()
    raise OSError(errno.ENOSPC, "No space left on device")


def open_threads() -> list[threading.Thread]:
    """Return the threads of a run. A cancelled timer takes a moment to end and does not count."""
    timers = [t for t in threading.enumerate() if isinstance(t, threading.Timer) and not t.finished.is_set()]
    return [*timers, *(t for t in threading.enumerate() if t.name in ("checkpoints", "lock"))]


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (RunLog, "__init__", InputError),
        (CheckpointWriter, "__init__", InputError),
        (output, "write_model", RunError),
        (threading.Timer, "start", InputError),
        (RunLog, "epoch", RunError),
        (RunLog, "close", RunError),
    ],
)
def test_after_a_failure_nothing_stays_open(
    owner: Any, name: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fail)
        with pytest.raises(error, match="No space left on device"):
            nnmpi.train("iris", output=tmp_path, **SMALL)
    assert not open_threads()
    assert not (tmp_path / "run.lock").exists()
    nnmpi.train("iris", output=tmp_path, overwrite=True, **SMALL)


def test_python_ends_after_a_full_disk(tmp_path: Path) -> None:
    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))  # config.json fits, the model does not

    program = "import nnmpi; nnmpi.train('digits', output='run')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=variables(),
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "RunError: run can no longer be written (File too large)" in done.stderr
