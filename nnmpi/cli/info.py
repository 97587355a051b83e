"""The command ``info``."""

import click

from nnmpi.cli import ranks


@click.command(short_help="Check MPI, hosts, cores and network; show what would be used.")
@click.option("--output", metavar="DIR", help="Where results would go: do all hosts see it?  [default: runs]")
@click.option("--json", "machine_readable", is_flag=True, help="Print one JSON object with all findings and facts.")
def info(output: str | None, machine_readable: bool) -> int:
    """Show what MPI, hosts, cores, BLAS and network a command started in the same way would use.

    What is wrong comes first, with its remedy. Exit status 1: something costs results or speed; 0: nothing does.

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
