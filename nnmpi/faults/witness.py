"""The witness: a small process on each host that reports which rank was killed, under MPICH's launcher.

This launcher, Hydra, ends all ranks when one dies, and then names any of them. It notices a death when the pipes of the
rank and its PMI connection are closed. The witness holds copies of these, so Hydra notices nothing until the witness
has found out which rank died. Then the witness closes the copies, and Hydra ends the job as it always does. Without a
witness, or if it is killed too, only the report is missing.
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

# seconds to wait whether Hydra ends all ranks of this host: it needs microseconds, but more on a loaded machine
GRACE = 0.05
FAR = 1.0  # the same if the cause may be a rank that died on another host


Held = tuple[int, int, list[int]]  # rank, process id, files: the connection to Hydra, stdout, stderr


class Witness:
    """A rank's connection to the witness of its host; the first rank on a host also starts the witness.

    It works under Hydra on Linux. Elsewhere, or if anything fails, it does nothing. Create it before MPI starts,
    because MPI starts threads.
    """

    def __init__(self, size: int) -> None:
        self._connection: socket.socket | None = None
        names = ("MPI_LOCALNRANKS", "MPI_LOCALRANKID", "PMI_FD")
        local_size, local_rank, self._pmi = (os.environ.get(name) for name in names)
        self._works = bool(size > 1 and local_size and local_rank and self._pmi and sys.platform == "linux")
        if self._works and local_rank == "0":
            with contextlib.suppress(OSError, ValueError), _socket() as listener:
                listener.bind(_address(int(self._pmi or "")))
                listener.listen(1024)
                self._connect()
                # a separate program: a fork of this process would soon hold a copy of all its memory
                command = [sys.executable, "-I", "-S", __file__, str(local_size), str(size)]
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
        """Report the death of this rank from now on; call it after MPI has started, when the witness runs."""
        if self._works:
            with contextlib.suppress(OSError, ValueError):
                socket.send_fds(self._connect(), [str(rank).encode()], [int(self._pmi or ""), 1, 2])

    def leave(self) -> None:
        """Tell the witness that this rank ends, or ends the job, on purpose."""
        if self._connection:
            with contextlib.suppress(OSError):
                self._connection.send(b"leave")
            self._connection.close()
            self._connection = None


def _socket() -> socket.socket:
    unconnected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    unconnected.settimeout(5)
    return unconnected


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Return the process id and the user id at the other end."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def _address(pmi: int) -> bytes:
    """Return a socket name that only the ranks of this job on this host use: it has the process id of their Hydra."""
    with socket.socket(fileno=os.dup(pmi)) as connection:
        launcher = _peer(connection)[0]
    if connection.family != socket.AF_UNIX or not launcher:
        raise OSError("not started by Hydra")
    return f"\0nnmpi witness {launcher}".encode()


def _keep_only(name: str, *files: int) -> None:
    """Keep only these open `files`, because other processes wait for the end of the rest; set the name in ``ps``."""
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in files:
            with contextlib.suppress(OSError):
                os.close(number)
    Path("/proc/self/comm").write_text(f"nnmpi-{name}")


def _watch(listener: socket.socket, canary: socket.socket, local_size: int, size: int) -> None:
    """Hold the files that the launcher listens to until all ranks have left, or one has died; report which one."""
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
                complete = len(held) == local_size
            elif complete and not message:
                _report_death(held.pop(number), {rank: process for rank, process, _ in held.values()}, canary, size)
                return
            else:
                for file in held.pop(number, (0, 0, []))[2]:
                    os.close(file)
                connections.pop(number).close()
        if not connections:
            return


def _report_death(gone: Held, others: dict[int, int], canary: socket.socket, size: int) -> None:
    """Report which rank died; `gone` is the first whose connection closed, `others` maps other ranks to process ids.

    Nothing is reported if the launcher signals all ranks. MPI aborts a rank that has lost another, sometimes before the
    other process is quite gone. So a rank that was killed, but not by SIGABRT, is reported rather than `gone`.
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
        # Hydra must first see that this connection is closed. If it reads anything else first, it waits for processes,
        # and takes a rank that ended by itself for a normal end.
        os.close(files[0])
    print(f"nnmpi: rank {rank} of {size} on {socket.gethostname()} {_how(codes[rank])}", file=sys.stderr)


def _exit_code(process: int) -> int:
    """Return what `os.wait` would for a process that has not been waited for; 0 if it is alive, -1 if not known."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[49])
    except (OSError, ValueError, IndexError):
        return -1


def _how(code: int) -> str:
    """Return how a process with this exit code ended, and what to do."""
    how = "died" if code < 0 else f"ended with status {os.WEXITSTATUS(code)}"
    if os.WIFSIGNALED(code):
        number = os.WTERMSIG(code)
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        why = " (by hand, by a scheduler, or because memory ran out)" if number == signal.SIGKILL else ""
        how = f"was killed by {name}{why}"
    return f"{how}; to go on with a training from its last checkpoint, use --resume"


def main(local_size: int, size: int) -> None:
    """Run the witness of a host with `local_size` of `size` ranks."""
    with socket.socket(fileno=0) as listener:
        canary, other_end = socket.socketpair()
        if os.fork() == 0:
            # The canary stays in the process group of the rank that started it. The launcher signals whole groups, so
            # its signals reach the canary; signals for the rank alone do not.
            _keep_only("canary", other_end.fileno())
            other_end.recv(1)  # until the witness ends
            return
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.setsid()
        _keep_only("witness", 0, canary.fileno(), 2)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        _watch(listener, canary, local_size, size)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        main(*map(int, sys.argv[1:]))
    finally:
        os._exit(0)
