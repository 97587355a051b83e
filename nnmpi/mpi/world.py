"""The world: the ranks that train together, and how they exchange numbers, share errors and agree."""

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.errors import CommandError, InputError, RunError
from nnmpi.mpi.addresses import Addresses
from nnmpi.mpi.last_words import last_words
from nnmpi.mpi.launcher import fault_tolerant, library
from nnmpi.mpi.position import Position, Recorder
from nnmpi.text import message


class World:
    """The ranks that train together. They exchange buffers only: nothing is ever pickled.

    When ranks die and the others go on (`nnmpi.faults.recovery`), the world shrinks and its ranks get new numbers.

    Attributes
    ----------
    rank, size : int
        As in MPI, of the ranks that are left.
    initial_ranks : list of int
        The number that each of them had at the start.
    recovers : bool
        Whether the other ranks can go on when one dies.
    addresses : Addresses
        The hosts and processes of the ranks, including lost ones.
    before_exit : function()
        Is called before this process ends on purpose.
    persistent : list
        The persistent requests of MPI, for `free_requests`.
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
        self.persistent: list[Any] = []
        self.addresses = Addresses(self)
        self.position = Position()
        self._bind()

    def shrink_to(self, comm: Any) -> None:
        """Replace the communicator by `comm`, which holds some ranks of this world."""
        kept = comm.group.Translate_ranks(list(range(comm.size)), self.comm.group)
        self.initial_ranks = [self.initial_ranks[rank] for rank in kept]
        self.persistent.clear()  # after a failure Open MPI may still need them
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self.position.collectives = len(self.lost) << 40  # the same on all ranks again, and never used before
        self._bind()
        self.position.enter("recovery")

    def free_requests(self) -> None:
        """Free the persistent requests, before the communicator or MPI ends: MPICH prints a line for each one left."""
        while self.persistent:
            self.persistent.pop().Free()

    @property
    def lost(self) -> list[int]:
        """The ranks of the start that are no longer in the world."""
        return [rank for rank in range(self.initial_size) if rank not in self.initial_ranks]

    def agree_on_end(self) -> None:
        """Agree that all work is done. If ranks may die, this succeeds on all ranks that are left or on none."""
        if self.recovers:
            self.position.counted(self.comm.Agree)(1)

    def _bind(self) -> None:
        comm, counted = self.comm, self.position.counted
        self._allgather, self._allreduce = counted(comm.Allgather), counted(comm.Allreduce)
        self._broadcast = counted(comm.Bcast)

    def record(self, timeline: Recorder | None) -> None:
        """Record phases and collectives in `timeline`, including those of a reduction that is made later."""
        self.position.timeline = timeline
        self._bind()

    def sum_exactly(self, number: int) -> int:
        """Return the sum of a whole number over all ranks."""
        total = np.array(number, np.int64)
        self._allreduce(self.mpi.IN_PLACE, total)
        return int(total)

    def gather_rows(self, rows: Array) -> Array:
        """Return the rows of all ranks, on every rank, in the order of the ranks and so of the shards."""
        counts = np.empty(self.size, np.int64)
        self._allgather(np.array(len(rows), np.int64), counts)
        longest = int(counts.max())
        padded = np.zeros((longest, rows.shape[1]), rows.dtype)
        padded[: len(rows)] = rows
        out = np.empty((self.size, longest, rows.shape[1]), rows.dtype)
        self._allgather(padded, out)  # not Allgatherv: after a death, Open MPI's may do nothing and report success
        return np.concatenate([part[:count] for part, count in zip(out, counts.tolist(), strict=True)])

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """Return the bytes that each rank gives, on every rank."""
        lengths = np.empty(self.size, np.int64)
        self._allgather(np.array(len(data), np.int64), lengths)
        longest = int(lengths.max())
        out = bytearray(self.size * longest)
        self._allgather([data.ljust(longest, b"\0"), self.mpi.BYTE], [out, self.mpi.BYTE])
        return [bytes(out[r * longest : r * longest + length]) for r, length in enumerate(lengths.tolist())]

    def largest(self, number: int) -> int:
        """Return the largest of the whole numbers that the ranks give, one each."""
        return int(self.gather_rows(np.array([[number]])).max())

    def broadcast_bytes(self, data: bytes | None, root: int = 0) -> bytes:
        """Return the bytes that rank `root` gives; the other ranks give None."""
        length = np.array(len(data or b""), np.int64)
        self._broadcast(length, root)
        out = bytearray(data or bytes(int(length)))
        self._broadcast([out, self.mpi.BYTE], root)
        return bytes(out)

    def broadcast(self, array: Array, root: int = 0) -> None:
        """Overwrite a contiguous `array` with that of rank `root`."""
        self._broadcast([array.reshape(-1).view(np.uint8), self.mpi.BYTE], root)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Run a block that may fail on some ranks only: any error on one rank becomes the same error on all ranks.

        All ranks must enter. The block must not contain collectives.
        """
        cause: Exception | None = None
        problem = ""
        status = 0
        try:
            yield
        except CommandError as error:
            problem, status = str(error), error.status
        except MemoryError:
            problem, status = "not enough memory; use less data or more hosts", 2
        except OSError as error:
            problem, status = message(f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")), 2
        except Exception as error:  # a defect, of nnmpi or of a library
            if self.size == 1:
                raise
            cause, problem, status = error, message(f"{type(error).__name__}: {error}"), 1
        problems = self.gather_bytes(f"{status} {problem}".encode() if status else b"")
        failed = [rank for rank, text in enumerate(problems) if text]
        if failed:
            number, _, text = problems[failed[0]].decode().partition(" ")
            if len(failed) < self.size:
                text += f" (on rank {failed[0]} of {self.size})"
            raise (InputError if number == "2" else RunError)(text, shared=True) from (
                cause if failed[0] == self.rank else None
            )

    def library(self) -> str:
        """Return the name and version of the MPI library in use."""
        return library(self.mpi)

    def abort(self, message: str, status: int) -> None:
        """Print `message` and end the job on all ranks at once. Any rank may call it at any time; never returns."""
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        time.sleep(0.3 * min(self.rank, 8))  # if all ranks fail alike, only rank 0 reports it: it ends the others
        last_words(f"{message}\n")
        time.sleep(0.1)  # MPICH's launcher may end before it has forwarded the message
        self.before_exit()
        self.comm.Abort(status)
