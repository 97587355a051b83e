"""What a rank says before it ends."""

import contextlib
import os
import select
import sys
import time

PATIENCE = 1.0  # seconds that a reader has to make room
PIECE = 512  # bytes: a pipe that can be written to takes so many at once


def last_words(text: str) -> None:
    """Write `text` to standard error, as much as goes: nobody may read it any more, and that must not keep us."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    data, end = text.encode(encoding, "backslashreplace"), time.monotonic() + PATIENCE
    errors = select.poll()
    errors.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        while data and errors.poll(max(0.0, 1000 * (end - time.monotonic()))):
            data = data[os.write(2, data[:PIECE]) :]
