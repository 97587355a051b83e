"""What ranks check before they work together, and how many threads each may use."""

import hashlib

from nnmpi.errors import InputError
from nnmpi.mpi.cores import available, preset_threads, shared
from nnmpi.mpi.host import kernel
from nnmpi.mpi.launcher import allocated_tasks, launched
from nnmpi.mpi.world import World


def check_launcher(world: World, training: bool = True) -> None:
    """Refuse to go on where each process is a world of its own, the sign of a launcher of another MPI.

    Slurm's variables stand in a batch script, too, where a single process may well use a model, but hardly train.

    Raises
    ------
    InputError
        With the remedy.
    """
    name, size, _ = launched()
    if size != world.initial_size and (training or name != "Slurm"):
        raise InputError(
            f"{name} started {size} processes, but MPI sees a world of {world.initial_size}: launcher and MPI library "
            f"are not of the same MPI. The library is {world.library()}; use its own launcher, with Slurm the right "
            "srun --mpi=… (nnmpi info shows both)"
            + ("; if srun did not start this process, unset SLURM_STEP_ID" if name == "Slurm" else ""),
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


def check_same(world: World, things: dict[str, bytes]) -> None:
    """Refuse to go on where ranks differ in one of `things`, each given as bytes.

    Raises
    ------
    InputError
        That names what differs and on which ranks.
    """
    for name, value in things.items():
        digests = world.gather_bytes(hashlib.sha256(value).digest())
        others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise InputError(
                f"rank{'s' * (len(others) > 1)} {', '.join(others)} and rank 0 run with different {name}: "
                "give all ranks the same command line and the same installation",
                shared=True,
            )


def blas_threads(world: World) -> int:
    """How many threads each rank should give to BLAS: what a variable says, else its part of the CPUs.

    Containers of one machine, which MPI takes for hosts, share its CPUs, too.
    """
    mine = f"{kernel()} {shared()}".encode()
    ranks = world.gather_bytes(mine).count(mine)
    preset = preset_threads()
    return preset[1] if preset else max(1, available() // ranks)
