"""The ranks of a job: what they tell each other, and what they agree on."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.errors import CommandError, InputError
from nnmpi.mpi.addresses import Addresses
from nnmpi.mpi.last_words import last_words
from nnmpi.mpi.launcher import fault_tolerant, library
from nnmpi.mpi.position import Position, Recorder
from nnmpi.text import message


class World:
    """The ranks that train together, in buffers only: nothing is ever pickled.

    When ranks die and the others go on (`nnmpi.faults.recovery`), the world gets smaller and its ranks other numbers.

    Attributes
    ----------
    rank, size : int
        As in MPI, of the ranks that are left.
    initial_ranks : list of int
        What number each of them had at the start.
    recovers : bool
        Whether the others can go on when a rank dies.
    addresses : Addresses
        Where they are.
    before_exit : function()
        To be called before this process ends on purpose.
    """

    def __init__(self, mpi: Any, comm: Any = None) -> None:
        self.mpi = mpi
        self.comm = comm or mpi.COMM_WORLD
        self.rank: int = self.comm.Get_rank()
        self.size: int = self.comm.Get_size()
        self.host = socket.gethostname()
        self.initial_size = self.size
        self.initial_ranks = list(range(self.size))
        self.recovers = comm is None and fault_tolerant(mpi)  # a caller's communicator is not ours to shrink
        self.before_exit: Callable[[], None] = lambda: None
        self.addresses = Addresses(self)
        self.position = Position()
        self._bind()

    def shrink_to(self, comm: Any) -> None:
        """Take `comm`, made of ranks of this world, in the place of its communicator."""
        kept = comm.group.Translate_ranks(list(range(comm.size)), self.comm.group)
        self.initial_ranks = [self.initial_ranks[rank] for rank in kept]
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.position.collectives = len(self.lost) << 40  # from here on the same again on all, and unlike any before
        self._bind()
        self.position.enter("recovery")

    @property
    def lost(self) -> list[int]:
        """The ranks of the start that are no longer there."""
        return [rank for rank in range(self.initial_size) if rank not in self.initial_ranks]

    def agree_on_end(self) -> None:
        """Agree that all is done. Where ranks may die, this succeeds on all that are left, or on none."""
        if self.recovers:
            self.position.counted(self.comm.Agree)(1)

    def _bind(self) -> None:
        comm, counted = self.comm, self.position.counted
        self._allgather, self._allreduce = counted(comm.Allgather), counted(comm.Allreduce)
        self._broadcast = counted(comm.Bcast)

    def record(self, timeline: Recorder | None) -> None:
        """Let the collectives, those of a `reduction` made later, too, and the phases leave rows in `timeline`."""
        self.position.timeline = timeline
        self._bind()

    def sum_exactly(self, number: int) -> int:
        """The sum of a whole number over all ranks."""
        total = np.array(number, np.int64)
        self._allreduce(self.mpi.IN_PLACE, total)
        return int(total)

    def gather_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The rows of all ranks in the order of the ranks, which is that of the shards; on every rank."""
        counts = np.empty(self.size, np.int64)
        self._allgather(np.array(len(rows), np.int64), counts)
        most = int(counts.max())
        mine = np.zeros((most, rows.shape[1]), rows.dtype)
        mine[: len(rows)] = rows
        out = np.empty((self.size, most, rows.shape[1]), rows.dtype)
        self._allgather(mine, out)  # no Allgatherv: that of Open MPI, where a rank died, may do nothing and succeed
        return np.concatenate([part[:count] for part, count in zip(out, counts.tolist(), strict=True)])

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """A string of bytes from every rank, on every rank."""
        lengths = np.empty(self.size, np.int64)
        self._allgather(np.array(len(data), np.int64), lengths)
        most = int(lengths.max())
        out = bytearray(self.size * most)
        self._allgather([data.ljust(most, b"\0"), self.mpi.BYTE], [out, self.mpi.BYTE])
        return [bytes(out[r * most : r * most + length]) for r, length in enumerate(lengths.tolist())]

    def largest(self, number: int) -> int:
        """The largest of one whole number from each rank."""
        return int(self.gather_rows(np.array([[number]])).max())

    def broadcast_bytes(self, data: bytes | None, root: int = 0) -> bytes:
        """A string of bytes from rank `root`; the other ranks give None."""
        length = np.array(len(data or b""), np.int64)
        self._broadcast(length, root)
        out = bytearray(data or bytes(int(length)))
        self._broadcast([out, self.mpi.BYTE], root)
        return bytes(out)

    def broadcast(self, array: npt.NDArray[Any], root: int = 0) -> None:
        """Overwrite a contiguous `array` by that of rank `root`."""
        self._broadcast([array.reshape(-1).view(np.uint8), self.mpi.BYTE], root)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Do something that may fail on some ranks only: what is wrong on one becomes the same error on all.

        All ranks must enter. Nothing inside may be collective.
        """
        problem = ""
        status = 0
        try:
            yield
        except CommandError as error:
            problem, status = str(error), error.status
        except MemoryError:
            problem, status = "there is not enough memory for this; use less data, or more hosts", 2
        except OSError as error:
            problem, status = message(f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")), 2
        problems = self.gather_bytes(f"{status} {problem}".encode() if status else b"")
        failed = [rank for rank, text in enumerate(problems) if text]
        if failed:
            number, _, text = problems[failed[0]].decode().partition(" ")
            if len(failed) < self.size:
                text += f" (on rank {failed[0]} of {self.size})"
            raise InputError(text, shared=True) if number == "2" else CommandError(text, shared=True)

    def library(self) -> str:
        """The MPI library in use, in a line."""
        return library(self.mpi)

    def fail(self, message: str, status: int) -> None:
        """Print `message` and end the job on all ranks at once. Any rank may call it at any time; never returns."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        time.sleep(0.3 * min(self.rank, 8))  # if all fail alike, rank 0 speaks, and ends the others before they do
        last_words(f"{message}\n")
        time.sleep(0.1)  # MPICH's launcher may end without passing on what it has not read yet
        self.before_exit()
        self.comm.Abort(status)
