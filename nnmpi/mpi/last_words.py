"""The last message of a rank before it ends."""

import contextlib
import os
import select
import sys
import time

PATIENCE = 1.0  # seconds to wait for a reader that does not read
PIECE = 512  # bytes: a pipe that is ready for writing takes this many without blocking


def last_words(text: str) -> None:
    """Write `text` to standard error, for a second at most: a reader that is stuck must not block the end."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    data, end = text.encode(encoding, "backslashreplace"), time.monotonic() + PATIENCE
    errors = select.poll()
    errors.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        while data and errors.poll(max(0.0, 1000 * (end - time.monotonic()))):
            data = data[os.write(2, data[:PIECE]) :]
