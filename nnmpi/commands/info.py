"""The command ``info``: what a command started in the same way would use."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnmpi.commands.kernel_advice import kernel_advice
from nnmpi.environment import blas, set_threads, versions
from nnmpi.errors import InputError
from nnmpi.launching.find_mpiexec import find_launcher
from nnmpi.mpi.alone import Alone
from nnmpi.mpi.checks import blas_threads
from nnmpi.mpi.cores import cores, preset_threads, quota
from nnmpi.mpi.launcher import allocated_tasks, launched, library
from nnmpi.mpi.shared_memory import share
from nnmpi.mpi.start import load
from nnmpi.mpi.world import World
from nnmpi.text import printable


def info(world: World) -> None:
    """Print the table; all ranks take part, rank 0 prints."""
    threads = blas_threads(world)
    set_threads(threads)
    hosts = world.addresses.hosts()
    launcher, promised, _ = launched()
    started = "not started by a launcher" if launcher is None else f"{launcher}, {promised} processes"
    if allocated_tasks() > 1:
        started += f", though Slurm allocated {allocated_tasks()} tasks: train with srun, or unset SLURM_NTASKS"
    if promised != world.size:
        started += ": NOT of the same MPI as the library; training will be refused"
    math = blas()
    kernel = _blas(math)
    addition = "by one rank alone" if world.size == 1 else "by the MPI library"
    if share(world, 1, 1, "float32") is not None:
        addition = "in shared memory"
    rows = {
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "MPI library": _library(world),
        "launcher": started,
        "world size": str(world.size),
        "hosts": ", ".join(f"{host} ({hosts.count(host)} ranks)" for host in dict.fromkeys(hosts)),
        "BLAS": "; ".join(filter(None, [kernel, kernel_advice(math["kernel"])])),
        "BLAS threads of a rank": f"{threads} ({_why_threads()}; --threads changes it)",
        "gradients are added up": addition,
        "fault tolerance": "on: training goes on without ranks that die"
        if world.recovers
        else "off: a lost rank ends the job (Open MPI: mpirun --with-ft ulfm)",
    }
    if world.rank == 0:
        rows["nnmpi launch"] = _launcher()
        table = Table(show_header=False)
        for row in rows.items():
            table.add_row(*(Text(printable(cell)) for cell in row))
        Console().print(table)


def _blas(math: dict[str, Any]) -> str:
    """The BLAS in a cell of the table."""
    if math["library"] is None:
        return (
            "one that threadpoolctl does not know, or none: set its threads by its own variables; a NumPy with "
            "OpenBLAS or MKL may be faster (pip install numpy)"
        )
    return f"{math['library']} {math['version']}, kernel {math['kernel']}"


def _launcher() -> str:
    """What ``nnmpi launch`` would start a job with."""
    try:
        return f"would use {find_launcher()}"
    except InputError as error:
        return str(error)


def _library(world: World) -> str:
    """The library in use; without a launcher, the one that a launcher's ranks would use."""
    if not isinstance(world.mpi, Alone):
        return world.library()
    try:
        return f"not needed for one rank; installed is {library(load())}"
    except InputError as error:
        return f"not needed for one rank; {error}"


def _why_threads() -> str:
    """What decides how many threads BLAS gets."""
    preset, limit = preset_threads(), quota()
    if preset:
        return f"{preset[0]}={preset[1]}"
    if limit and limit.cpus < len(cores()):
        return f"a quota of {limit.cpus:g} CPUs of the cgroup {printable(limit.cgroup)}, for all ranks in it"
    return f"{len(cores())} cores, for all ranks of the host"
