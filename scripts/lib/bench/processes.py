"""Child processes of the benchmarks: started with a time limit, and always ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER_VARIABLES = ("OMPI_", "PMI_", "PMIX_", "PRTE_", "SLURM_", "HYDRA_", "MPI_LOCAL", "MPIR_CVAR_")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")


class Failed(Exception):
    """A measurement that gave no result; the message says why, in one line."""


def variables() -> dict[str, str]:
    """Return the environment of a child process, without variables of an outer launcher and without thread settings."""
    dropped = LAUNCHER_VARIABLES + THREAD_VARIABLES
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    # Open MPI refuses root without these variables.
    kept |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # nnmpi from this working tree
    return kept | {"PYTHONPATH": path}


def run(command: list[str], timeout: float = 200.0, *, core: int | None = None, cwd: Path | None = None) -> str:
    """Run a command, on one core if `core` is given; return its standard output.

    Raises
    ------
    Failed
        If the command cannot start, runs longer than `timeout` seconds, or ends with a status other than 0.
    """
    if core is not None:
        command = [sys.executable, str(Path(__file__).with_name("pinned.py")), str(core), *command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env=variables(),
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(str(error)) from None
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {timeout:.0f} s") from None
        finally:  # also after Ctrl-C
            end(process)
        out.seek(0)
        err.seek(0)
        if status:
            raise Failed(_reason(err.read() or f"exit status {status}"))
        return out.read()


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process and all its descendants, because launchers start ranks in separate sessions."""
    below = descendants(process.pid) if process.poll() is None else []
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(10)


def descendants(pid: int) -> list[int]:
    """Return all descendants of the process `pid`."""
    below: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                below += [child, *descendants(child)]
    return below


def answer(output: str) -> dict[str, Any]:
    """Return the line of JSON in a program's output."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):  # the line was not JSON
                return dict(json.loads(line))
    raise Failed("it printed no result")


def _reason(text: str) -> str:
    """Return the most useful line of an error output: the last with an error, otherwise the last with letters."""
    lines = [line.strip() for line in text.splitlines() if any(c.isalpha() for c in line)]
    errors = [line for line in lines if "Error" in line or line.startswith("nnmpi: ")]
    return (errors or lines or ["no reason given"])[-1][:200]
