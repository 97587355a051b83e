"""Write files atomically: a file is complete or absent, and links are never followed.

Several users may share a directory, and another user may have put a link where a file is expected. A link is replaced,
never followed. Directories, FIFOs, sockets and devices are never replaced and never removed. New files get the mode
that the user's umask allows.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


NOT_FILES = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_replaceable(path: Path) -> None:
    """Refuse `path` if it is neither a file nor a link, or is a link to a device, a pipe or a socket, such as stdout.

    Raises
    ------
    OSError
        Its ``strerror`` says what `path` is.
    """
    for look_up in (path.lstat, path.stat):
        try:
            file_type = stat.S_IFMT(look_up().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return
        if file_type in NOT_FILES and not (look_up == path.stat and file_type == stat.S_IFDIR):
            raise OSError(errno.EEXIST, f"{path.name} is {NOT_FILES[file_type]}", str(path))
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):
        raise OSError(errno.EEXIST, f"{path.name} is an open file of a process", str(path))


def check_directory(path: Path) -> None:
    """Refuse `path` if it cannot be a directory, because it or a parent is a file or a link to nothing.

    Raises
    ------
    OSError
        Its ``strerror`` says which.
    """
    for part in (path, *path.parents):
        if part.is_dir():
            return
        if part.is_symlink() and not part.exists():
            raise NotADirectoryError(errno.ENOTDIR, f"{part} is a link to {part.readlink()}, which does not exist")
        if part.exists():
            raise NotADirectoryError(errno.ENOTDIR, f"{part} is a file, not a directory")


def check_writable(path: Path) -> None:
    """Check, before long work begins, that a file can be written to `path`; create its parent directories.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    check_replaceable(path)
    check_directory(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, file = _new_file(path)
    temporary.unlink()
    os.close(file)


def remove_file(path: Path) -> None:
    """Remove `path` if it is a file or a link."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)


def lock(file: int) -> bool | None:
    """Lock the open `file`: True on success, False if another process has the lock, None if locks do not work."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _new_file(path: Path) -> tuple[Path, int]:
    """Create and lock a file with the temporary name for a new `path`; remove one that a killed process has left there.

    Raises
    ------
    OSError
        If the file cannot be created, or if another process is writing `path`: its file is locked.
    """
    temporary = path.with_name(f".{path.name}.new")
    check_replaceable(temporary)
    with contextlib.suppress(FileNotFoundError, PermissionError):
        if not temporary.is_symlink():
            old = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            locked = lock(old)
            os.close(old)
            if locked is False:
                raise OSError(errno.EBUSY, f"another process is writing {path.name}", str(path))
    temporary.unlink(missing_ok=True)
    file = os.open(temporary, NEW, 0o666)
    lock(file)
    return temporary, file


@contextlib.contextmanager
def whole_file(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a new file that replaces `path` when the block ends without an error; `sync` brings it to the disk first."""
    check_replaceable(path)
    temporary, locked = _new_file(path)
    try:
        with open(locked, "wb", closefd=False) as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(locked)
    if sync:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the new name must reach the disk, too
        finally:
            os.close(directory)


def write_whole(path: Path, data: bytes, sync: bool = True) -> None:
    """Replace the content of `path` by `data`, as `whole_file` does."""
    with whole_file(path, sync) as file:
        file.write(data)


def open_to_append(path: Path) -> IO[str]:
    """Open the text file `path` for appending; links are refused."""
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC), "a", encoding="utf-8")
