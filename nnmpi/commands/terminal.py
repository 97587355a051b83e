"""The terminal that shows what rank 0 prints, and a block of lines at its end that is redrawn in place."""

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

WIDTH = 80  # columns of a terminal that does not say how many it has
UNLIMITED = 1 << 16  # columns of a file


@dataclass(frozen=True)
class Terminal:
    """What is known of where standard output goes.

    Attributes
    ----------
    shows : bool or None
        Whether it is a terminal that obeys escape codes and may be sent some; None if that cannot be known: srun, on
        another host, has the terminal.
    file : int or None
        A descriptor of the terminal, which knows its width.
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
    """The terminal behind standard output, through the launcher that passes the output on.

    Open MPI's launcher gives rank 0 a terminal of its own even where it passes the output on into a file, MPICH's gives
    it a pipe: what the launcher itself writes to is what counts.
    """
    plain = os.environ.get("TERM", "") in ("", "dumb") or os.environ.get("NO_COLOR") or "JPY_PARENT_PID" in os.environ
    try:
        mine = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return Terminal(False)  # a caller has put something of its own there
    if plain or stat.S_ISREG(mine.st_mode):
        return Terminal(False)
    launchers = [pid for pid in launcher_processes() if process_name(pid).startswith(PROGRAMS)]
    if sys.stdout.isatty() and not ("OMPI_COMM_WORLD_SIZE" in os.environ and launchers):
        return Terminal(True, sys.stdout.fileno())
    if not sys.stdout.isatty() and not any(_reads(pid, mine) for pid in launchers):
        return Terminal(None if "SLURM_PROCID" in os.environ else False)
    try:
        # not by open(): that would empty a file; and a pipe that nobody reads must not block
        file = os.open(f"/proc/{launchers[-1]}/fd/1", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return Terminal(False)
    if os.isatty(file):
        return Terminal(True, file)
    os.close(file)
    return Terminal(False)


def _reads(pid: int, pipe: os.stat_result) -> bool:
    """Whether a launcher has an end of this pipe; else it is another's, such as that of a script with ``| tee``."""
    with contextlib.suppress(OSError):
        return any(os.path.samestat(os.stat(link), pipe) for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


class Block:
    """Lines at the end of the output that are replaced in place, and lines that stay above them.

    A launcher passes output on when a line ends. So each change is one text that goes up over the block, erases it,
    and ends with a newline.
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
        """While entered, the block is erased, so that somebody else can print."""
        with self._lock:
            if self._lines:
                self._write(["\x1b[1A"])  # its newline leads back to where the block began
            self._lines = 0
            yield

    def _write(self, lines: list[str]) -> None:
        erased = "\x1b[1A\x1b[2K" * self._lines
        sys.stdout.write(erased + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._lines = len(lines)
