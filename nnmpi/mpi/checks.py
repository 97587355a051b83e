"""Checks that all ranks make before they work together, and the number of BLAS threads of each rank."""

import hashlib

from nnmpi.errors import InputError
from nnmpi.mpi.cores import available, cpu_group, preset_threads
from nnmpi.mpi.host import kernel
from nnmpi.mpi.launcher import allocated_tasks, launched, without_mpi
from nnmpi.mpi.world import World


def check_launcher(world: World, training: bool = True) -> None:
    """Refuse to run if MPI sees fewer ranks than a launcher started, or if srun did not start Slurm's tasks.

    If each process is a world of its own, launcher and MPI library are from different MPIs. Slurm also sets its
    variables in a batch script. There a single process may use a model, but a `training` on one rank is not intended.

    Raises
    ------
    InputError
        The message says what to change.
    """
    name, size, _ = launched()
    if size != world.initial_size and (training or name != "Slurm"):
        raise InputError(
            f"{name} started {size} processes, but MPI sees a world of {world.initial_size}: launcher and MPI library "
            f"are from different MPIs. The library is {world.library()}; use its own launcher, with Slurm the right "
            "srun --mpi=… (nnmpi info shows both)"
            + ("; if srun did not start this process, unset SLURM_STEP_ID" if name == "Slurm" else ""),
            shared=True,
        )
    name, size = without_mpi()
    if training and world.initial_size == 1 < size:
        raise InputError(
            f"{name} started {size} processes without MPI, so each would train alone: start them with nnmpi launch "
            f"-n {size} -- train …",
            shared=True,
        )
    tasks = allocated_tasks()
    if training and world.initial_size == 1 < tasks:
        raise InputError(
            f"Slurm allocated {tasks} tasks (SLURM_NTASKS={tasks}), but srun did not start this process: train on "
            f"all of them with srun nnmpi train …, or nnmpi launch -n {tasks} -- train …; to train on one rank, "
            "unset SLURM_NTASKS",
            shared=True,
        )


def differing_ranks(world: World, data: bytes) -> list[int]:
    """Return the ranks that give other `data` than rank 0; all ranks take part."""
    everywhere = world.gather_bytes(data)
    return [rank for rank, other in enumerate(everywhere) if other != everywhere[0]]


def check_same(world: World, values: dict[str, bytes]) -> None:
    """Refuse to run if one of the named `values` is not the same on all ranks; all ranks take part.

    Raises
    ------
    InputError
        On all ranks. The message names the value that differs, and the ranks that differ from rank 0.
    """
    for name, value in values.items():
        others = [str(rank) for rank in differing_ranks(world, hashlib.sha256(value).digest())]
        if others:
            raise InputError(
                f"rank{'s' * (len(others) > 1)} {', '.join(others)} and rank 0 run with different {name}: "
                "give all ranks the same command line and the same installation",
                shared=True,
            )


def training_threads(world: World, deterministic: bool, threads: int | None = None) -> int:
    """Return the number of BLAS threads of this rank in a training: `threads` if given, or one if `deterministic`.

    Sums of several threads may depend on their number. All ranks take part.
    """
    return threads or (1 if deterministic else blas_threads(world))


def blas_threads(world: World) -> int:
    """Return the number of BLAS threads for this rank: from a thread variable, else the rank's share of the CPUs.

    All ranks take part. Containers on one machine, which MPI takes for hosts, share its CPUs, too.
    """
    own = f"{kernel()} {cpu_group()}".encode()
    ranks = world.gather_bytes(own).count(own)
    preset = preset_threads()
    return preset[1] if preset else max(1, available() // ranks)
