"""Guard standard output and standard error, so that no command fails when writing to them does.

The reader may go away, the disk may be full, the terminal may lack a character, or the parent may have closed them.
"""

import errno
import io
import os
import select
import sys
from typing import Any

import click

READER_GONE = 141  # the exit status in a shell of a tool that SIGPIPE ended: 128 + 13


class GuardedOutput(io.FileIO):
    """The file of a standard stream. After the first failed write it is ``/dev/null``, and ``error`` is the cause."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write `data`, or drop it after an error."""
        while self.error is None:
            try:
                written: int | None = super().write(data)
            except OSError as error:
                self.error = error
                _send_to_null(self.fileno())  # also for libraries such as MPI, which write directly
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # the pipe is non-blocking and full: wait until it has room
        return memoryview(data).nbytes


class _HelpFormatter(click.HelpFormatter):
    def getvalue(self) -> str:
        """Return the help in the encoding of standard output: `click` would write UTF-8 to an ASCII terminal."""
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        return super().getvalue().encode(encoding, "backslashreplace").decode(encoding)


class HelpContext(click.Context):
    """A click context whose help any terminal can show."""

    formatter_class = _HelpFormatter


def guard_streams() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr`` by guarded streams, and open closed standard streams on /dev/null.

    The next opened file would otherwise get the number of a closed stream, and prints would go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _send_to_null(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None and not _is_stream_of(stream, number):
            continue  # the caller has replaced the stream
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
    """Return the exit status of a command whose result is what it printed."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return 0
    sys.stdout.flush()
    return status_after(getattr(getattr(sys.stdout.buffer, "raw", None), "error", None))


def status_after(error: OSError | None) -> int:
    """Return the exit status of a Unix tool whose standard output had this write error; 0 without one.

    A reader that went away gets no message: it has read all it wanted.
    """
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
