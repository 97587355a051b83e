"""Standard output and standard error: whatever becomes of them, no command fails because of it.

A reader may go away, a disk behind ``>`` may be full, a terminal may lack a character, a parent may have closed them.
"""

import errno
import io
import os
import select
import sys
from typing import Any

import click

READER_GONE = 141  # what a shell shows for a tool that SIGPIPE ended: 128 + 13


class GuardedOutput(io.FileIO):
    """The file behind a standard stream. After the first failed write it is ``/dev/null``, and ``error`` says why."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write `data`, or drop them."""
        while self.error is None:
            try:
                written: int | None = super().write(data)
            except OSError as error:
                self.error = error
                _send_to_null(self.fileno())  # for MPI and other libraries that write by themselves, too
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # somebody made the pipe non-blocking, and it is full
        return memoryview(data).nbytes


class _HelpFormatter(click.HelpFormatter):
    def getvalue(self) -> str:
        """The help in the characters of standard output: `click` would write UTF-8 to an ASCII terminal."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        return super().getvalue().encode(encoding, "backslashreplace").decode(encoding)


class HelpContext(click.Context):
    """A context whose help any terminal can show."""

    formatter_class = _HelpFormatter


def guard_streams() -> None:
    """Put guarded streams in the place of ``sys.stdout`` and ``sys.stderr``, and open those that are closed.

    A closed one would give its number to the next file that is opened, which prints would then go into.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _send_to_null(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None and not _is_stream_of(stream, number):
            continue  # a caller has put something of its own there
        if stream is not None:
            stream.flush()
        guarded = io.TextIOWrapper(
            io.BufferedWriter(GuardedOutput(number, "wb", closefd=False)),
            encoding=getattr(stream, "encoding", "utf-8"),
            errors="backslashreplace",
            line_buffering=getattr(stream, "line_buffering", True),
            write_through=getattr(stream, "write_through", False),
        )
        setattr(sys, name, guarded)


def status_of_output() -> int:
    """The exit status of a command that exists for its output: 0, or what a Unix tool has if it could not be written.

    A reader that went away has seen enough, which needs no message.
    """
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return 0
    sys.stdout.flush()
    error = getattr(getattr(sys.stdout.buffer, "raw", None), "error", None)
    if error is None:
        return 0
    if error.errno == errno.EPIPE:
        return READER_GONE
    print(f"nnmpi: standard output cannot be written ({error.strerror})", file=sys.stderr)
    return 1


def _send_to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, perhaps this one
    if null == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(null, number)
        os.close(null)


def _is_stream_of(stream: Any, number: int) -> bool:
    try:
        return isinstance(stream, io.TextIOWrapper) and stream.fileno() == number
    except (OSError, ValueError):
        return False
