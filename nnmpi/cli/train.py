"""The command ``train``."""

from typing import TYPE_CHECKING, Any

import click

from nnmpi.cli import ranks
from nnmpi.cli.sections import SectionedCommand
from nnmpi.cli.settings import config_of, setting_flags

if TYPE_CHECKING:
    from nnmpi.mpi.world import World


@click.command(cls=SectionedCommand)
@setting_flags
@click.option(
    "--progress",
    type=click.Choice(("auto", "live", "plain", "none")),
    default="auto",
    show_default=True,
    help="Display of progress: live redraws lines, plain prints lines; auto is live in a terminal, else plain.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print only the final scores, notes and errors.")
@click.option("--json", is_flag=True, help="Print only events, as JSON lines, to standard output.")
@click.option(
    "--dry-run", is_flag=True, help="Check all input, time a few steps, estimate memory and time; write nothing."
)
def train(progress: str, quiet: bool, json: bool, dry_run: bool, **settings: Any) -> int:
    """Train a network on DATA; results go to the directory --output.

    \b
    Examples:
      mpirun -n 4 nnmpi train digits --hidden 64,32 --epochs 20
      nnmpi launch -n 4 -- train flights.csv --target late --early-stopping 5
      nnmpi train --config run.toml --learning-rate 0.1
      nnmpi train --config runs/digits/config.json       (repeats a run)
    """  # noqa: D301 (click keeps the lines below \b)
    config = config_of(settings)

    def work(world: "World") -> None:
        # imported after MPI_Init: the death of a rank before that cannot be survived
        if dry_run:
            from nnmpi.commands.dry_run import dry_run as run_dry

            run_dry(config, world)
        else:
            from nnmpi.commands.screen import Screen
            from nnmpi.commands.train import train

            train(config, world, Screen(progress, quiet, json))

    return ranks.run(work)
