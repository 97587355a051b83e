"""A small process on each host that says which rank was killed, where the launcher cannot.

MPICH's launcher, Hydra, ends all ranks when one dies and then names any of those processes. It learns of a death when
the rank's pipes and its PMI connection close. The witness holds copies of these, so that Hydra does not learn of it
before the witness has seen, in peace, which rank it was; then it closes them, and Hydra does as ever. Where there is no
witness, or it is killed too, nothing else changes.
"""

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import sys
from pathlib import Path

# Hydra needs microseconds to end all ranks of a host one after the other; this is for a loaded machine
GRACE = 0.05  # seconds
FAR = 1.0  # seconds for the news that a rank died on another host


Held = tuple[int, int, list[int]]  # rank, process, files: the connection to Hydra, stdout, stderr


class Witness:
    """A rank's connection to the witness of its host; the first rank on a host also starts it.

    Only under Hydra, on Linux; else, and where anything goes wrong, nothing happens. To be made before MPI starts,
    which starts threads.
    """

    def __init__(self, size: int) -> None:
        self._connection: socket.socket | None = None
        here, local_rank, self._pmi = (os.environ.get(f) for f in ("MPI_LOCALNRANKS", "MPI_LOCALRANKID", "PMI_FD"))
        self._wanted = bool(size > 1 and here and local_rank and self._pmi and sys.platform == "linux")
        if self._wanted and local_rank == "0":
            with contextlib.suppress(OSError, ValueError), _socket() as listener:
                listener.bind(_address(int(self._pmi or "")))
                listener.listen(1024)
                self._connect()
                # a program of its own: a fork of this process would soon hold a copy of all it has
                command = [sys.executable, "-I", "-S", __file__, str(here), str(size)]
                as_input = [(os.POSIX_SPAWN_DUP2, listener.fileno(), 0)]
                os.posix_spawn(sys.executable, command, os.environ, file_actions=as_input)

    def _connect(self) -> socket.socket:
        if not self._connection:
            connection = _socket()
            connection.connect(_address(int(self._pmi or "")))
            if _peer(connection)[1] != os.getuid():
                raise PermissionError("the witness is not ours")
            self._connection = connection
        return self._connection

    def watch(self, rank: int) -> None:
        """From now on the death of this rank is told; call it when MPI has started, so that the witness is there."""
        if self._wanted:
            with contextlib.suppress(OSError, ValueError):
                socket.send_fds(self._connect(), [str(rank).encode()], [int(self._pmi or ""), 1, 2])

    def leave(self) -> None:
        """Say that this rank ends, or ends the job, in good order."""
        if self._connection:
            with contextlib.suppress(OSError):
                self._connection.send(b"leave")
            self._connection.close()
            self._connection = None


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(5)
    return made


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _address(pmi: int) -> bytes:
    """A name that only the ranks of this job on this host come to: Hydra's process there made the PMI connection."""
    with socket.socket(fileno=os.dup(pmi)) as connection:
        launcher = _peer(connection)[0]
    if connection.family != socket.AF_UNIX or not launcher:
        raise OSError("not started by Hydra")
    return f"\0nnmpi witness {launcher}".encode()


def _keep(name: str, *files: int) -> None:
    """Close all other files, as others wait for their end, and take a name that ``ps`` shows."""
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in files:
            with contextlib.suppress(OSError):
                os.close(number)
    Path("/proc/self/comm").write_text(f"nnmpi-{name}")


def _watch(listener: socket.socket, canary: socket.socket, here: int, size: int) -> None:
    """Hold what the launcher listens to until all ranks have left, or one has died: say which."""
    connections: dict[int, socket.socket] = {}
    held: dict[int, Held] = {}  # of each connection
    complete = False
    events = select.epoll()
    events.register(listener, select.EPOLLIN)
    while True:
        for number, _ in events.poll():
            if number == listener.fileno():
                connection, _ = listener.accept()
                if _peer(connection)[1] == os.getuid():
                    connections[connection.fileno()] = connection
                    events.register(connection, select.EPOLLIN)
                continue
            connection = connections[number]
            message, files, *_ = socket.recv_fds(connection, 64, 3)
            if files:
                held[number] = int(message), _peer(connection)[0], files
                complete = len(held) == here
            elif complete and not message:
                _tell(held.pop(number), {rank: process for rank, process, _ in held.values()}, canary, size)
                return
            else:
                for file in held.pop(number, (0, 0, []))[2]:
                    os.close(file)
                connections.pop(number).close()
        if not connections:
            return


def _tell(gone: Held, others: dict[int, int], canary: socket.socket, size: int) -> None:
    """Say which rank died, `gone` being the first to be gone, and `others` the processes of the others by rank.

    Nothing is said if the launcher signals all. MPI lets a rank abort that has lost another, sometimes before that one
    is quite gone: a death that may follow from another is not told where there is another.
    """
    if select.select([canary], [], [], GRACE)[0]:
        return
    first, process, files = gone
    processes = {**others, first: process}
    codes = {rank: _exit_code(process) for rank, process in processes.items()}
    causes = [
        rank for rank in (first, *codes) if os.WIFSIGNALED(codes[rank]) and os.WTERMSIG(codes[rank]) != signal.SIGABRT
    ]
    if not causes and len(processes) < size and select.select([canary], [], [], FAR)[0]:
        return
    rank = causes[0] if causes else first
    if not os.WIFSIGNALED(codes[first]):
        # whatever Hydra reads next makes it wait for processes, and of one that ended by itself it would think nothing,
        # unless it sees the end of its connection before
        os.close(files[0])
    print(f"nnmpi: rank {rank} of {size} on {socket.gethostname()} {_how(codes[rank])}", file=sys.stderr)


def _exit_code(process: int) -> int:
    """What `os.wait` would give for a process that nobody has waited for yet, 0 if it lives; -1: not to be known."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[49])
    except (OSError, ValueError, IndexError):
        return -1


def _how(code: int) -> str:
    """How a process with this exit code ended, and what to do."""
    how = "died" if code < 0 else f"ended with status {os.WEXITSTATUS(code)}"
    if os.WIFSIGNALED(code):
        number = os.WTERMSIG(code)
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        why = " (by hand, by a scheduler, or because memory ran out)" if number == signal.SIGKILL else ""
        how = f"was killed by {name}{why}"
    return f"{how}; a training goes on from its last checkpoint with --resume"


def main(here: int, size: int) -> None:
    """Be the witness of `here` of `size` ranks."""
    with socket.socket(fileno=0) as listener:
        canary, other_end = socket.socketpair()
        if os.fork() == 0:
            # the canary stays in the process group of the rank that started it: signals from the launcher, which go
            # to whole groups, reach it; those for the rank alone do not
            _keep("canary", other_end.fileno())
            other_end.recv(1)  # until the witness ends
            return
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.setsid()
        _keep("witness", 0, canary.fileno(), 2)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        _watch(listener, canary, here, size)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        main(*map(int, sys.argv[1:]))
    finally:
        os._exit(0)
