"""A stand-in for MPI in a process that no launcher started: a communicator of one rank.

The process neither loads nor starts MPI. So MPI need not be installed, costs no time and leaves no files behind.
"""

import os
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt


class Alone:
    """The part of ``mpi4py.MPI`` that nnmpi uses on one rank."""

    IN_PLACE = BYTE = FLOAT = DOUBLE = None

    class Exception(RuntimeError):
        """An error of MPI; never raised."""

    def __init__(self) -> None:
        self.COMM_WORLD = _Communicator()

    def Get_library_version(self) -> str:
        """Return the text that is shown instead of the library's name."""
        return "none (one rank, no launcher)"


class _Communicator:
    """A communicator of one rank, which receives what it sends."""

    def Get_rank(self) -> int:
        return 0

    def Get_size(self) -> int:
        return 1

    def Allgather(self, send: Any, receive: Any) -> None:
        _bytes(receive)[:] = _bytes(send)

    def Alltoallv(self, send: Any, receive: Any) -> None:
        """Do nothing: there is no other rank."""

    def Allreduce(self, send: Any, receive: Any) -> None:
        """Leave `receive` as it is: it already holds the sum over one rank."""

    def Bcast(self, buffer: Any, root: int) -> None:
        """Leave `buffer` as it is."""

    def Barrier(self) -> None:
        """Return at once: there is no other rank."""

    def Abort(self, status: int) -> NoReturn:
        os._exit(status)


def _bytes(buffer: Any) -> npt.NDArray[np.uint8]:
    """Return the bytes of an array, or of the buffer in ``[buffer, datatype]``."""
    return np.frombuffer(buffer[0] if isinstance(buffer, list) else buffer, np.uint8)
