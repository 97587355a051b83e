"""The command ``info``."""

import click

from nnmpi.cli import ranks


@click.command(short_help="Check the MPI, hosts, cores and network that a command would use.")
@click.option("--output", metavar="DIR", help="Directory for results; all hosts should see it.  [default: runs]")
@click.option("--json", "machine_readable", is_flag=True, help="Print one JSON object with all findings and facts.")
def info(output: str | None, machine_readable: bool) -> int:
    """Show the MPI, hosts, cores, BLAS and network that a command started in the same way would use.

    Problems come first, each with its remedy. Exit status: 1 if a problem costs results or speed, else 0.

    \b
    Examples:
      nnmpi info
      mpirun -n 4 nnmpi info
      nnmpi launch -n 4 --hostfile hosts -- info
    """  # noqa: D301 (click keeps the lines below \b)
    from nnmpi.commands.info import info, library
    from nnmpi.doctor.host_facts import shared_memory

    ranks.check_surroundings()
    shm = shared_memory()
    return ranks.run(lambda world: info(world, output, machine_readable, shm), library())
