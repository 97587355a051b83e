"""The command ``slurm``."""

from typing import Any

import click

from nnmpi.cli import ranks
from nnmpi.cli.settings import Parsed, config_of
from nnmpi.errors import InputError
from nnmpi.launching.slurm import parse_time

_positive = click.IntRange(min=1)


@click.command(
    short_help="Write a Slurm job script for a training.",
    context_settings={"allow_interspersed_args": False},
    options_metavar="--nodes NODES [OPTIONS] --",
)
@click.option("--nodes", type=_positive, required=True, help="Number of nodes.")
@click.option("--ntasks-per-node", type=_positive, default=1, show_default=True, help="Number of ranks per node.")
@click.option(
    "--cpus-per-task", type=_positive, default=1, show_default=True, help="Number of cores and BLAS threads per rank."
)
@click.option(
    "--time",
    type=Parsed(parse_time, "2h, 90m, 1d12h or D-HH:MM:SS"),
    help="Time limit, such as 2h; the job is queued again until the training is done.  [default: the partition's]",
)
@click.option(
    "--grace",
    type=_positive,
    default=60,
    show_default=True,
    help="Seconds before the time limit at which the training writes a checkpoint and stops.",
)
@click.option("--partition", default="", help="Partition to run in.  [default: Slurm's own]")
@click.option("--job-name", default="nnmpi", show_default=True, help="Name of the job, and of its output file.")
@click.option("--array", default="", help="Job array, one job per index, such as 1-5, which replaces %a in COMMAND.")
@click.option(
    "--mpi",
    type=click.Choice(("auto", "openmpi", "mpich", "intelmpi")),
    default="auto",
    show_default=True,
    help="MPI of the launcher; another one is refused. auto takes any.",
)
@ranks.command_argument
@click.pass_context
def slurm(
    context: click.Context, /, time: int | None, job_name: str, mpi: str, command: tuple[str, ...], **options: Any
) -> int:
    """Print a job script for sbatch that runs COMMAND, which is train with its flags.

    For example: nnmpi slurm --nodes 4 --time 2h -- train --data digits | sbatch
    """
    from nnmpi.commands.slurm import write_script
    from nnmpi.launching.slurm import ARRAY_INDEX, SlurmJob, first_index

    if command[0] != "train":
        raise InputError(f"slurm {command[0]}: a job script can only run train")
    job = SlurmJob(name=job_name, seconds=time, **options)
    first = first_index(job.array) if job.array else ARRAY_INDEX
    _, settings = ranks.parse(context, tuple(word.replace(ARRAY_INDEX, first) for word in command))
    write_script(job, mpi, config_of(settings), command)
    return 0
