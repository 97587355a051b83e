"""The terminal that shows the output of rank 0, and a block of lines that is redrawn in place."""

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnmpi.mpi.host import process_name
from nnmpi.mpi.launcher import PROGRAMS, launcher_processes

WIDTH = 80  # columns of a terminal of unknown width
UNLIMITED = 1 << 16  # columns of a file


@dataclass(frozen=True)
class Terminal:
    """The destination of standard output.

    Attributes
    ----------
    shows : bool or None
        Whether it is a terminal that may get escape codes; None if unknown: the terminal belongs to srun on another
        host.
    file : int or None
        A file descriptor of the terminal, for its width.
    """

    shows: bool | None
    file: int | None = None

    @property
    def width(self) -> int:
        """Columns of the terminal now, or of a file."""
        if self.file is not None:
            with contextlib.suppress(OSError):
                return os.get_terminal_size(self.file).columns or WIDTH
        return UNLIMITED if self.shows is False else WIDTH


def find_terminal() -> Terminal:
    """Find the terminal that shows standard output, directly or through a launcher that passes the output on.

    Under a launcher its own standard output counts: the one of Open MPI gives rank 0 a terminal even if it writes to a
    file, the one of MPICH gives it a pipe.
    """
    plain = os.environ.get("TERM", "") in ("", "dumb") or os.environ.get("NO_COLOR") or "JPY_PARENT_PID" in os.environ
    try:
        output = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return Terminal(False)  # the caller has replaced the stream
    if plain or stat.S_ISREG(output.st_mode):
        return Terminal(False)
    launchers = [pid for pid in launcher_processes() if process_name(pid).startswith(PROGRAMS)]
    if sys.stdout.isatty() and not ("OMPI_COMM_WORLD_SIZE" in os.environ and launchers):
        return Terminal(True, sys.stdout.fileno())
    if not sys.stdout.isatty() and not any(_has_pipe(pid, output) for pid in launchers):
        return Terminal(None if "SLURM_PROCID" in os.environ else False)
    try:
        # open() would empty a file; O_NONBLOCK: a pipe without a reader must not block
        file = os.open(f"/proc/{launchers[-1]}/fd/1", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return Terminal(False)
    if os.isatty(file):
        return Terminal(True, file)
    os.close(file)
    return Terminal(False)


def _has_pipe(pid: int, pipe: os.stat_result) -> bool:
    """Whether a launcher has an end of this pipe; if not, the pipe leads elsewhere, such as to ``tee``."""
    with contextlib.suppress(OSError):
        return any(os.path.samestat(os.stat(link), pipe) for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


class Block:
    """A block of lines at the end of the output that is redrawn in place, below lines that stay.

    A launcher passes output on at the end of a line. So each change is one text that moves up over the block, erases
    it, and ends with a newline.
    """

    def __init__(self) -> None:
        self._lines = 0
        self._lock = threading.Lock()

    def draw(self, lines: list[str]) -> None:
        """Replace the block."""
        with self._lock:
            self._write(lines)

    def print(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._write([text])
            self._lines = 0

    @contextlib.contextmanager
    def cleared(self) -> Iterator[None]:
        """Erase the block while entered, so that other code can print."""
        with self._lock:
            if self._lines:
                self._write(["\x1b[1A"])  # with its newline, the cursor is where the block began
            self._lines = 0
            yield

    def _write(self, lines: list[str]) -> None:
        erased = "\x1b[1A\x1b[2K" * self._lines
        sys.stdout.write(erased + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._lines = len(lines)
