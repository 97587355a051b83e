"""Files that are whole or not there, and never somewhere else.

A directory may belong to many: what stands under the name of a file may be a link that somebody else put there. A link
is replaced, never followed. What is no file, a directory, a FIFO, a socket or a device, is never replaced, and never
removed. New files get the mode that the user's umask leaves.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


NO_FILES = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_replaceable(path: Path) -> None:
    """Refuse `path` if something stands there that is neither a file nor a link, or a link to a device such as stdout.

    Raises
    ------
    OSError
        Whose ``strerror`` says what it is.
    """
    for look in (path.lstat, path.stat):
        try:
            kind = stat.S_IFMT(look().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return
        if kind in NO_FILES and not (look == path.stat and kind == stat.S_IFDIR):
            raise OSError(errno.EEXIST, f"{path.name} is {NO_FILES[kind]}", str(path))
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):
        raise OSError(errno.EEXIST, f"{path.name} is an open file of a process", str(path))


def check_writable(path: Path) -> None:
    """Find out, before long work begins, whether a file can be written to `path`; makes the directories above it.

    Raises
    ------
    OSError
        If not.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    os.close(os.open(temporary, NEW, 0o666))
    temporary.unlink()


def remove_file(path: Path) -> None:
    """Remove a file or a link; leave what is neither."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """The name under which a new file for `path` is written, which is free: what a killed process left is removed."""
    temporary = path.with_name(f".{path.name}.new")
    check_replaceable(temporary)
    temporary.unlink(missing_ok=True)
    return temporary


@contextlib.contextmanager
def whole_file(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """A new file that, when all went well, replaces `path` in one move, with `sync` after it has reached the disk."""
    check_replaceable(path)
    temporary = _temporary(path)
    try:
        with open(os.open(temporary, NEW, 0o666), "wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the new name, too, has to reach the disk
        finally:
            os.close(directory)


def write_whole(path: Path, data: bytes, sync: bool = True) -> None:
    """Replace `path` by `data` in one move, with `sync` after they have reached the disk."""
    with whole_file(path, sync) as file:
        file.write(data)


def open_to_append(path: Path) -> IO[str]:
    """The text file `path`, to add to; refused if it is a link."""
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC), "a", encoding="utf-8")
