"""Ranks that an ordinary Python process starts and that end with it, however it ends.

Each rank connects to a socket of this process and waits there for work, without using the CPU. When this process ends,
the sockets close and the ranks end themselves. Messages are lines of JSON. Arrays are in files in memory, which all
ranks map. Nothing is unpickled.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from nnmpi.errors import InputError, RunError
from nnmpi.launching.array_files import ArrayFiles
from nnmpi.launching.find_mpiexec import find_launcher
from nnmpi.launching.mpiexec_command import module_command, without_allocation
from nnmpi.mpi.host import children

START = 120.0  # seconds within which all ranks have to connect
END = 10.0  # seconds for the ranks to end, before SIGTERM and again before SIGKILL


class RankPool:
    """`ranks` ranks that run the Python module `module`, started by this process.

    Raises
    ------
    InputError
        If no launcher is found.
    RunError
        If the ranks do not start.
    """

    def __init__(self, module: str, ranks: int) -> None:
        try:
            launcher = find_launcher()
        except InputError as error:
            raise InputError(f"n_jobs={ranks} needs MPI: {error}. n_jobs=1 works without MPI") from None
        self.closed = False
        self._sockets: list[socket.socket] = []
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        on_disk, in_memory = (Path(tempfile.mkdtemp(prefix="nnmpi-", dir=place)) for place in (None, memory))
        self.arrays = ArrayFiles([in_memory, on_disk])
        address = self.arrays.directories[0] / "socket"  # not in TMPDIR, whose name may be too long for a socket
        command = module_command(launcher, ranks, module, str(address), *map(str, self.arrays.directories))
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (as long as the pool)
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(address))
                listener.listen(ranks)
                listener.settimeout(0.2)
                self._process = subprocess.Popen(
                    command.words,
                    env=without_allocation(command.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=self._errors,
                    stderr=self._errors,
                    start_new_session=True,  # Ctrl-C is for this process, which passes it on
                )
                try:
                    self._connect(listener, ranks)
                except BaseException:
                    self.close()
                    raise
        except OSError:
            self.arrays.remove()
            self._errors.close()
            raise

    def _connect(self, listener: socket.socket, ranks: int) -> None:
        """Wait until each rank has connected, and sort the connections by rank."""
        deadline = time.monotonic() + START
        numbered: dict[int, socket.socket] = {}
        while len(numbered) < ranks:
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.settimeout(None)
                numbered[int.from_bytes(connection.recv(4), "little")] = connection
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"could not start {ranks} ranks for n_jobs={ranks}: {self._end_of_output()}")
        self._sockets = [numbered[rank] for rank in sorted(numbered)]

    def run(self, job: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Send a job to the ranks and yield the messages of rank 0, up to the one with ``done``.

        Ctrl-C asks the ranks to stop, and their messages still arrive. A second Ctrl-C ends the ranks.

        Raises
        ------
        RunError
            If a rank has failed; the pool is then closed.
        """
        try:
            with self._stopping_on_interrupt():
                self.send(job)
                for message in self._messages():
                    if "error" in message:
                        raise RunError(f"a rank failed: {message['error']}")
                    yield message
                    if "done" in message:
                        return
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _stopping_on_interrupt(self) -> Iterator[None]:
        """While entered, the first SIGINT asks the ranks to stop; only the main thread can handle signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        old_handler = signal.getsignal(signal.SIGINT)

        def stop_ranks(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, old_handler)
            self.send({"stop": True})

        signal.signal(signal.SIGINT, stop_ranks)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, old_handler)

    def _messages(self) -> Iterator[dict[str, Any]]:
        lines = [bytearray() for _ in self._sockets]
        with selectors.DefaultSelector() as selector:
            for rank, connection in enumerate(self._sockets):
                selector.register(connection, selectors.EVENT_READ, rank)
            while True:
                for key, _ in selector.select():
                    data = b""
                    with contextlib.suppress(OSError):  # reset by a rank that was killed
                        data = self._sockets[key.data].recv(1 << 16)
                    if not data:
                        raise RunError(f"rank {key.data} of {len(lines)} died: {self._end_of_output()}")
                    lines[key.data] += data
                    while (end := lines[key.data].find(b"\n")) >= 0:
                        message = json.loads(lines[key.data][:end])
                        del lines[key.data][: end + 1]
                        yield message

    def send(self, message: dict[str, Any]) -> None:
        """Send a message to all ranks.

        Raises
        ------
        RunError
            If a rank has ended.
        """
        line = json.dumps(message).encode() + b"\n"
        for connection in self._sockets:
            try:
                connection.sendall(line)
            except OSError:
                raise RunError(f"a rank died: {self._end_of_output()}") from None

    def _end_of_output(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip(" -")]
        return " / ".join(lines[-3:]) or f"the launcher ended with status {self._process.poll()}"

    def close_sockets(self) -> None:
        """Close the sockets; the ranks end when no other process has them open."""
        for connection in self._sockets:
            connection.close()
        self._sockets = []

    def close(self) -> None:
        """End the ranks and their launcher."""
        self.closed = True
        self.close_sockets()
        for end in (self._process.terminate, self._kill):
            try:
                self._process.wait(END)
            except subprocess.TimeoutExpired:
                end()
        self.arrays.remove()
        self._errors.close()

    def _kill(self) -> None:
        """Kill the launcher and all ranks; it cannot start others meanwhile, because it is stopped first."""
        self._process.send_signal(signal.SIGSTOP)
        for process in children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
