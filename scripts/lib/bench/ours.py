"""Measurements of nnmpi itself: the real training loop, started as a user starts it."""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from networks import Network
from processes import Failed, answer, run

PROGRAMS = Path(sys.executable).parent


def mpiexec(ranks: int, *command: str) -> list[str]:
    """Return the command on `ranks` ranks, with the launcher's default settings, also for binding ranks to cores."""
    launch = [str(PROGRAMS / "mpiexec"), "-n", str(ranks), *command]
    if ranks <= len(os.sched_getaffinity(0)):
        return launch
    return ["env", "PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe", *launch]  # otherwise Open MPI refuses


def train(*flags: str) -> list[str]:
    """Return ``nnmpi train`` with these flags."""
    return [str(PROGRAMS / "nnmpi"), "train", *flags]


def launch(ranks: int, *flags: str) -> list[str]:
    """Return ``nnmpi launch`` with these flags, which enables fault tolerance."""
    return [str(PROGRAMS / "nnmpi"), "launch", "-n", str(ranks), "--", "train", *flags]


def step(network: Network, ranks: int, core: int | None = None, launched: bool = False) -> dict[str, Any]:
    """Return the seconds of a step of ``nnmpi train``, the median over all epochs but the first, and its config.json.

    `launched`: start it with ``nnmpi launch`` instead of ``mpiexec``.
    """
    fan_in, *hidden, classes = network.layers
    batch = network.batch * ranks
    rows = -(-network.steps * batch * 5 // 4)  # a fifth is for testing
    flags = ["--data", f"random:{rows}x{fan_in}x{classes}", "--hidden", ",".join(map(str, hidden)) or "none"]
    flags += ["--batch-size", str(batch), "--epochs", str(network.epochs + 1), "--checkpoint-every", "never"]
    with tempfile.TemporaryDirectory() as directory:
        flags += ["--output", directory]
        run(launch(ranks, *flags) if launched else mpiexec(ranks, *train(*flags)), 180.0, core=core)
        config = json.loads((Path(directory) / "config.json").read_text())
        lines = (Path(directory) / "metrics.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines[1:]]
    return {"step": statistics.median(seconds) / config["steps_per_epoch"], "config": config}


def limit(network: Network, ranks: int = 2, core: int | None = None) -> dict[str, Any]:
    """Return the measurements of `limit.py`."""
    program = [sys.executable, str(Path(__file__).with_name("limit.py"))]
    program += ["--layers", network.layers_flag, "--batch", str(network.batch), "--seconds", str(network.limit_seconds)]
    return answer(run(mpiexec(ranks, *program), 180.0, core=core))


def whole(*command: str, cwd: Path) -> float:
    """Return the wall time of a command in seconds."""
    started = time.perf_counter()
    run(list(command), cwd=cwd)
    return time.perf_counter() - started


def peaks(ranks: int, *flags: str, timeout: float = 120.0) -> list[int]:
    """Return the peak resident memory of each rank of ``nnmpi train`` in bytes, the largest first."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "peaks"
        measured = [sys.executable, str(Path(__file__).with_name("peak.py")), str(path)]
        run(mpiexec(ranks, *measured, *train(*flags, "--output", f"{directory}/run")), timeout)
        values = sorted(map(int, path.read_text().split()), reverse=True)
    if len(values) != ranks:
        raise Failed(f"{len(values)} of {ranks} ranks reported their peak memory")
    return values
