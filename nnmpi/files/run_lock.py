"""Lock the directory of a run, so that only one training at a time, on any host, writes to it.

The file ``run.lock`` names its owner, a process that holds a lock of the operating system on the file. This lock ends
with the process, and NFS makes it visible to other hosts. On a file system that does not, a heartbeat shows that the
owner is alive: it updates the modification time of the file every few seconds.
"""

import contextlib
import json
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnmpi.errors import InputError, RunError
from nnmpi.files.atomic import NEW, lock
from nnmpi.files.write_error import removed

NAME = "run.lock"
BEAT = 2.0  # seconds between two heartbeats
PATIENCE = 15.0  # seconds without a heartbeat until an owner on another host counts as dead; NFS shows changes late
LONG_AGO = 600.0  # seconds since the last heartbeat; more than the clocks of two hosts differ


def check_unlocked(directory: Path, run_id: str | None = None) -> None:
    """Refuse a directory that a live process of another run has locked; heartbeats are not checked, nothing is written.

    Raises
    ------
    InputError
        If it is locked; the message names the owner.
    """
    with contextlib.suppress(FileNotFoundError), _opened(directory / NAME) as file:
        owner = _owner(file)
        if (run_id is None or owner.get("run") != run_id) and lock(file) is False:
            raise _in_use(directory, owner)


class RunLock:
    """A lock on `directory` for the run `run_id`, held until `release`.

    If the owner of an existing lock is dead, or is another process of the same run, its lock is taken over.

    Raises
    ------
    InputError
        If another run holds the lock.
    OSError
        If the lock file cannot be written.
    """

    def __init__(self, directory: Path, run_id: str) -> None:
        self._directory, self._path = directory, directory / NAME
        temporary = directory / f".{NAME}.{uuid.uuid4().hex}"
        self._file = os.open(temporary, NEW, 0o666)
        try:
            owner = {"run": run_id, "host": socket.gethostname(), "pid": os.getpid(), "boot": _boot()}
            owner["since"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            os.write(self._file, json.dumps(owner).encode())
            lock(self._file)
            self._take(temporary, run_id)
            self._end = threading.Event()
            self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
            self._thread.start()
        except BaseException:
            os.close(self._file)
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def _take(self, temporary: Path, run_id: str) -> None:
        while True:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, self._path)  # only one process can succeed, also on NFS
                return
            with contextlib.suppress(FileNotFoundError), _opened(self._path) as file:
                owner = _owner(file)
                if owner.get("run") != run_id and _alive(self._path, file, owner):
                    raise _in_use(self._directory, owner)
                if _is_at(file, self._path):  # we hold its lock, so that no other process can take it over
                    os.replace(temporary, self._path)
                    return

    def check(self) -> None:
        """Check that the directory is still there and is still this run's.

        Raises
        ------
        RunError
            If it was removed or replaced, or if another run has taken it over, as it may after this process was stopped
            for long.
        """
        if _is_at(self._file, self._path):
            return
        if not self._directory.is_dir():
            raise removed(self._directory)
        if self._path.exists():
            raise RunError(f"another run has taken over {self._directory}; this one was stopped for too long")
        raise RunError(
            f"{self._path} is gone: it was removed, or another directory has taken the place of {self._directory}. Put "
            "the right directory back and continue with --resume, or start a new run"
        )

    def release(self) -> None:
        """Release the lock."""
        self._end.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if _is_at(self._file, self._path):
                self._path.unlink()
        os.close(self._file)

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, f"{path.name} is not a regular file")
        yield file
    finally:
        os.close(file)


def _alive(path: Path, file: int, owner: dict[str, Any]) -> bool:
    """Return whether the owner of the lock file is alive; on another host, that may take `PATIENCE` seconds."""
    locked = lock(file)
    if locked is not None and (not locked or owner.get("boot") == _boot()):
        return not locked
    last = os.fstat(file).st_mtime
    if abs(time.time() - last) > LONG_AGO:
        return False
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(BEAT / 4)
        with _opened(path) as reopened:  # NFS asks the server when a file is opened
            if os.fstat(reopened).st_mtime != last:
                return True
    return False


def _owner(file: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(file, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _in_use(directory: Path, owner: dict[str, Any]) -> InputError:
    pid, host, since = owner.get("pid", "?"), owner.get("host", "an unknown host"), owner.get("since", "?")
    return InputError(
        f"--output {directory}: another run is using it (process {pid} on {host}, since {since}): wait until it has "
        "ended, or choose another --output"
    )


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _boot() -> str:
    """Return a name that is the same for all processes on one machine until it is booted again."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
