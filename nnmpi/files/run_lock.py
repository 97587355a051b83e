"""The lock on the directory of a run: one training at a time writes there, from whichever host.

The file ``run.lock`` names its owner, who holds a lock of the operating system on it. That lock ends with the process,
and NFS passes it on to other hosts. Where a file system does not, the owner's heartbeat tells whether it is alive: the
time of the last change of the file.
"""

import contextlib
import fcntl
import json
import os
import socket
import stat
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from nnmpi.errors import InputError, RunError
from nnmpi.files.atomic import NEW

NAME = "run.lock"
BEAT = 2.0  # seconds between two heartbeats
PATIENCE = 15.0  # seconds without a heartbeat after which an owner on another host counts as dead; NFS shows it late
LONG_AGO = 600.0  # seconds; no two hosts' clocks differ as much


def check_unlocked(directory: Path, run_id: str | None = None) -> None:
    """Refuse a directory that a live process of another run has locked, as far as locks tell; writes nothing.

    Raises
    ------
    InputError
        Which names the owner.
    """
    with contextlib.suppress(FileNotFoundError), _opened(directory / NAME) as file:
        owner = _owner(file)
        if (run_id is None or owner.get("run") != run_id) and _locked(file) is False:
            raise _in_use(directory, owner)


class RunLock:
    """The lock on `directory`, for the run `run_id`, until it is released.

    The lock of an owner that is dead, or of another process of the same run, is taken over.

    Raises
    ------
    InputError
        If another run has it.
    OSError
        If the lock file cannot be written.
    """

    def __init__(self, directory: Path, run_id: str) -> None:
        self._directory, self._path = directory, directory / NAME
        self._lost = False
        temporary = directory / f".{NAME}.{uuid.uuid4().hex}"
        self._file = os.open(temporary, NEW, 0o666)
        try:
            about = {"run": run_id, "host": socket.gethostname(), "pid": os.getpid(), "boot": _boot()}
            about["since"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            os.write(self._file, json.dumps(about).encode())
            _locked(self._file)
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
                os.link(temporary, self._path)  # NFS, too, lets only one succeed
                return
            with contextlib.suppress(FileNotFoundError), _opened(self._path) as file:
                owner = _owner(file)
                if owner.get("run") != run_id and _alive(self._path, file, owner):
                    raise _in_use(self._directory, owner)
                if _is_at(file, self._path):  # nobody else can take it over: we have its lock
                    os.replace(temporary, self._path)
                    return

    def check(self) -> None:
        """Refuse to go on if another run has taken the directory, as from a process that was stopped for long.

        Raises
        ------
        RunError
            If it has.
        """
        if self._lost:
            raise RunError(f"another run has taken over {self._directory}; this one was stopped for too long")

    def release(self) -> None:
        """Let others have the directory."""
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
            with contextlib.suppress(OSError):
                self._lost = self._lost or not _is_at(self._file, self._path)


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(0, f"{path.name} is no plain file")
        yield file
    finally:
        os.close(file)


def _locked(file: int) -> bool | None:
    """Lock the open `file`: True if it could be, False if another process has it, None if locks do not work there."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _alive(path: Path, file: int, owner: dict[str, Any]) -> bool:
    """Whether the owner of the lock file lives; it takes a while to tell of one on another host."""
    locked = _locked(file)
    if locked is not None and (not locked or owner.get("boot") == _boot()):
        return not locked
    last = os.fstat(file).st_mtime
    if abs(time.time() - last) > LONG_AGO:
        return False
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(BEAT / 4)
        with _opened(path) as again:  # NFS looks at the server when a file is opened
            if os.fstat(again).st_mtime != last:
                return True
    return False


def _owner(file: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(file, 4096, 0))
    except (ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _in_use(directory: Path, owner: dict[str, Any]) -> InputError:
    who = f"process {owner.get('pid', '?')} on {owner.get('host', 'an unknown host')}, since {owner.get('since', '?')}"
    return InputError(
        f"--output {directory}: another run is using it ({who}): wait until it has ended, or choose another --output"
    )


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _boot() -> str:
    """The same for all processes under one running kernel."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
