"""The command ``lr-find``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnmpi.cli import ranks
from nnmpi.cli.sections import SectionedCommand
from nnmpi.cli.settings import config_of, setting_flags
from nnmpi.errors import InputError

if TYPE_CHECKING:
    from nnmpi.mpi.world import World


@click.command("lr-find", cls=SectionedCommand, short_help="Suggest a learning rate for train, from a short sweep.")
@setting_flags
@click.option("--lowest", type=float, default=1e-5, show_default=True, help="First learning rate of the sweep.")
@click.option("--highest", type=float, default=10.0, show_default=True, help="Last learning rate of the sweep.")
@click.option("--picture", type=click.Path(path_type=Path), help="A .svg, .png or .pdf file for the curve.")
def lr_find(lowest: float, highest: float, picture: Path | None, **settings: Any) -> int:
    """Suggest a --learning-rate from one pass over DATA, in which it grows from --lowest to --highest.

    The flags are those of train; no run is written. The suggestion is a tenth of the rate with the lowest loss.

    \b
    Example:
      mpirun -n 4 nnmpi lr-find digits --batch-size 16
    """  # noqa: D301 (click keeps the lines below \b)
    config = config_of(settings)
    if not 0 < lowest < highest < float("inf"):
        raise InputError(
            f"--lowest is {lowest:g} and --highest {highest:g}; allowed are numbers above 0, in this order"
        )

    def work(world: "World") -> None:
        from nnmpi.commands.lr_find import lr_find

        lr_find(config, world, lowest, highest, picture)

    return ranks.run(work)
