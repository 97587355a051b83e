"""The command line: flags → config → one function call. Each command has a file with its flags.

MPI, scikit-learn and the modules that need them are imported only when a command runs: ``--help`` answers at once.
"""

import signal
import sys

import click

from nnmpi import __version__
from nnmpi.cli.apply import evaluate, predict
from nnmpi.cli.convert import convert
from nnmpi.cli.export import export
from nnmpi.cli.info import info
from nnmpi.cli.launch import launch
from nnmpi.cli.lr_find import lr_find
from nnmpi.cli.runs import compare, report
from nnmpi.cli.sections import OrderedGroup
from nnmpi.cli.slurm import slurm
from nnmpi.cli.train import train
from nnmpi.commands.streams import HelpContext, guard_streams, status_of_output
from nnmpi.errors import CommandError, InputError


@click.group(cls=OrderedGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="nnmpi")
def cli() -> None:
    """Train neural networks data-parallel over MPI.

    \b
    A first session:
      nnmpi train                            digits, on one process
      nnmpi launch -n 4 -- train             the same, on 4 ranks
      mpirun -n 4 nnmpi train flights.csv --target late
      nnmpi evaluate runs/digits             the scores of a run
      nnmpi predict runs/digits new.csv      apply it to new samples
      nnmpi report runs/digits               a page about it

    Under mpirun or a batch system, nnmpi train runs on all ranks that were started.
    """  # noqa: D301 (click keeps the lines below \b)


for _command in (train, lr_find, evaluate, predict, export, convert, info, launch, slurm, report, compare):
    cli.add_command(_command)
for _command in (cli, *cli.commands.values()):
    _command.context_class = HelpContext


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Exit status: 0 done; 2 bad usage or bad input, with one line that says what to change; 1 any other failure.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    guard_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if the parent ignores it, the status of child processes is lost
    try:
        status = cli.main(arguments, prog_name="nnmpi", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except (click.ClickException, CommandError) as error:
        status = _refuse(error)
    except click.Abort:
        status = 130
    # the result of a training is in its files; that of other commands is their output
    if status == 0 and ("--dry-run" in arguments or arguments[:1] not in (["train"], ["launch"])):
        status = status_of_output()
    sys.exit(status)


def _refuse(error: click.ClickException | CommandError) -> int:
    """Print the error once for all ranks, end the job, and return the exit status: no rank may wait for this one."""
    from nnmpi.mpi.launcher import launched

    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message())
        return 0
    if isinstance(error, click.ClickException):
        refusal = (InputError if error.exit_code == 2 else CommandError)(error.format_message())
    else:
        refusal = error
    if launched()[1] == 1:
        print(f"nnmpi: {refusal}", file=sys.stderr)
        return refusal.status
    from nnmpi.commands.job import end_unstarted, run

    try:
        if not refusal.shared:
            return run(lambda world: None, refusal)
    except CommandError as mpi_error:
        refusal = mpi_error
    return end_unstarted(refusal)
