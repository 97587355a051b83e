"""What stands in for MPI in a process that no launcher started: a communicator of one rank.

MPI is neither loaded nor started for that: it need not be installed, costs no time, and leaves no files behind.
"""

import os
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt


class Alone:
    """So much of ``mpi4py.MPI`` as `World` and the reductions use where there is one rank."""

    IN_PLACE = BYTE = FLOAT = DOUBLE = None

    class Exception(RuntimeError):
        """An error of MPI; never raised."""

    def __init__(self) -> None:
        self.COMM_WORLD = _Communicator()

    def Get_library_version(self) -> str:
        """What is said in place of the library's name."""
        return "none (one rank, no launcher)"


class _Communicator:
    """One rank: what it sends is what it gets."""

    def Get_rank(self) -> int:
        return 0

    def Get_size(self) -> int:
        return 1

    def Allgather(self, send: Any, receive: Any) -> None:
        _bytes(receive)[:] = _bytes(send)

    def Alltoallv(self, send: Any, receive: Any) -> None:
        """Send nothing to nobody."""

    def Allreduce(self, send: Any, receive: Any) -> None:
        """Leave the numbers in `receive`, which is used in place."""

    def Bcast(self, buffer: Any, root: int) -> None:
        """Leave `buffer` as it is."""

    def Barrier(self) -> None:
        """Wait for nobody."""

    def Abort(self, status: int) -> NoReturn:
        os._exit(status)


def _bytes(buffer: Any) -> npt.NDArray[np.uint8]:
    """The bytes of an array, or of the first part of ``[buffer, datatype]``."""
    return np.frombuffer(buffer[0] if isinstance(buffer, list) else buffer, np.uint8)
