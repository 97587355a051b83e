"""The command ``info``."""

import click

from nnmpi.cli import ranks


@click.command(short_help="Show which MPI, BLAS, threads and hosts would be used.")
def info() -> int:
    """Show what MPI, BLAS, threads, hosts and fault tolerance this command would use."""
    from nnmpi.commands.info import info

    return ranks.run(info)
