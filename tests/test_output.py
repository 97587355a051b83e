"""If files of a run cannot be opened, written or closed, no thread and no lock is left behind."""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import CommandServer, variables

import nnmpi
from nnmpi.errors import InputError, RunError
from nnmpi.files.checkpoint import Unfinished
from nnmpi.files.checkpoint_writer import CheckpointWriter
from nnmpi.files.run_log import RunLog
from nnmpi.training import output
from nnmpi.training.events import CheckpointDue, EpochDone, Event, Finished

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


def remove_lock(run: Path) -> None:
    (run / "run.lock").unlink()


def swap(run: Path) -> None:
    run.rename(run.with_name("mine"))
    run.with_name("other").rename(run)


def replace_by_file(run: Path) -> None:
    shutil.rmtree(run)
    run.touch()


@pytest.mark.parametrize("event", [EpochDone, CheckpointDue, Finished])
@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (shutil.rmtree, "run was removed or renamed during the run"),
        (lambda run: run.rename(run.with_name("elsewhere")), "run was removed or renamed during the run"),
        (replace_by_file, "run was removed or renamed during the run"),
        (swap, "another directory has taken the place"),
        (remove_lock, "run.lock is gone"),
    ],
)
def test_a_directory_that_goes_away_is_told_as_such(
    happens: Callable[[Path], None],
    message: str,
    event: type[Event],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "other/checkpoints").mkdir(parents=True)
    (tmp_path / "other/model.safetensors").write_bytes(b"another")
    write = output.Output.write

    def happens_before(self: output.Output, now: Event) -> None:
        if isinstance(now, event):
            monkeypatch.undo()
            self.flush()  # nothing is under way
            happens(tmp_path / "run")
        write(self, now)

    monkeypatch.setattr(output.Output, "write", happens_before)
    with pytest.raises(RunError, match=message) as error:
        nnmpi.train("iris", output=tmp_path / "run", hidden=(8,), epochs=2)
    assert "room" not in str(error.value)
    if happens == swap:
        assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == ["checkpoints", "model.safetensors"]
        assert (tmp_path / "run/model.safetensors").read_bytes() == b"another"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "for writing"),
        (errno.EACCES, "allow this user"),
        (errno.EIO, "Input/output error)"),
    ],
)
@pytest.mark.parametrize("owner", [Unfinished, RunLog])
def test_the_remedy_fits_the_error(
    owner: Any, number: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(owner, "finish" if owner is Unfinished else "epoch", broken)
    with pytest.raises(RunError, match=re.escape(os.strerror(number))) as error:
        nnmpi.train("iris", output=tmp_path, **SMALL)
    assert remedy in str(error.value)
    assert ("make room" in str(error.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


@pytest.mark.parametrize("flag", ["--output", "--timeline"])
@pytest.mark.parametrize("name", ["link", "link/run/below", "file/run"])
def test_what_cannot_be_a_directory_is_named(nnmpi: CommandServer, tmp_path: Path, flag: str, name: str) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").touch()
    path = name if flag == "--output" else f"{name}/file.json"
    output = () if flag == "--output" else ("--output", "run")
    done = nnmpi("train", "iris", "--epochs", "1", flag, path, *output, cwd=tmp_path)
    assert done.status == 2
    reason = "file is a file, not a directory" if "file" in name else "link is a link to nowhere, which does not exist"
    assert done.messages == [
        f"nnmpi: {flag} {path}: cannot be written ({reason}); choose another{' file' if output else ''}"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize("was_run", [True, False])
def test_a_new_run_keeps_no_report_of_the_one_it_replaces(was_run: bool, tmp_path: Path) -> None:
    if was_run:
        nnmpi.train("iris", output=tmp_path, **SMALL)
    (tmp_path / "tensorboard").mkdir()
    names = ["notes.html", "report.html", "tensorboard/events.out.tfevents.1.host", "tensorboard/notes"]
    for name in names:
        (tmp_path / name).touch()
    nnmpi.train("iris", output=tmp_path, overwrite=was_run, **SMALL)
    assert [name for name in names if (tmp_path / name).exists()] == (names[::3] if was_run else names)


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
