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
    help="how to show progress: live is redrawn in a terminal, plain is lines; auto is live in a terminal",
)
@click.option("-q", "--quiet", is_flag=True, help="print only the final scores, notes and errors")
@click.option("--json", is_flag=True, help="print events as JSON lines, and nothing else, to standard output")
@click.option(
    "--dry-run", is_flag=True, help="check all input, time a few steps, estimate memory and time; write nothing."
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
        # imported after MPI has started: an earlier death of a rank cannot be survived
        if dry_run:
            from nnmpi.commands import dry_run as trial

            trial.dry_run(config, world)
        else:
            from nnmpi.commands.screen import Screen
            from nnmpi.commands.train import train

            train(config, world, Screen(progress, quiet, json))

    return ranks.run(work)
