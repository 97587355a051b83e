"""The last message of a rank before it ends."""

import contextlib
import fcntl
import os
import select
import stat
import sys
import termios
import time

PATIENCE = 1.0  # seconds to wait for a reader that does not read
PIECE = 512  # bytes: a pipe that is ready for writing takes this many without blocking


def last_words(text: str) -> None:
    """Write `text` to standard error, and wait until a pipe's reader has read it, for a second at most.

    A launcher that ends before it has read the message of a rank loses it. A reader that is stuck must not block the
    end.
    """
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    data, end = text.encode(encoding, "backslashreplace"), time.monotonic() + PATIENCE
    errors = select.poll()
    errors.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        while data and errors.poll(max(0.0, 1000 * (end - time.monotonic()))):
            data = data[os.write(2, data[:PIECE]) :]
        while stat.S_ISFIFO(os.fstat(2).st_mode) and _unread() and time.monotonic() < end:
            time.sleep(0.002)


def _unread() -> int:
    """Return the number of bytes in the pipe of standard error."""
    return int.from_bytes(fcntl.ioctl(2, termios.FIONREAD, bytes(4)), sys.byteorder)
