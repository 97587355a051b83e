"""Files that are whole or not there, and never somewhere else.

A directory may belong to many: what stands under the name of a file may be a link that somebody else put there. A link
is replaced, never followed. New files get the mode that the user's umask leaves.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def whole_file(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """A new file that, when all went well, replaces `path` in one move, with `sync` after it has reached the disk."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # left by a process that was killed, or a link
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
