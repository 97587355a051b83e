"""Run a command on all ranks, and parse the command that ``launch`` or ``slurm`` starts."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nnmpi.errors import InputError

if TYPE_CHECKING:
    from nnmpi.mpi.world import World

# of commands that start another one; only flags before it are theirs
command_argument = click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
COMMANDS = ("train", "lr-find", "evaluate", "predict", "info")


def run(work: "Callable[[World], int | None]", mpi: Any = None) -> int:
    """Start MPI, call `work` with the world on all ranks, end MPI, and return the exit status.

    `mpi` is the MPI library if the caller has loaded it.
    """
    from nnmpi.commands.job import run
    from nnmpi.mpi.checks import check_same

    check_surroundings()
    context = click.get_current_context()
    name, arguments = str(context.info_name), str(context.params)

    def checked(world: "World") -> int | None:
        if name != "train":  # train checks this itself, where it can recover from the death of a rank
            check_same(world, {"commands": name.encode(), "arguments": arguments.encode(errors="backslashreplace")})
        return work(world)

    return run(checked, mpi=mpi)


def check_surroundings() -> None:
    """Check the working directory, and set HOME if a batch system left it out: MPI needs both."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working directory cannot be used ({error.strerror}): cd to one that exists") from None
    if not os.environ.get("HOME"):
        home = os.path.expanduser("~")
        os.environ["HOME"] = home if os.path.isabs(home) else "/"


def parse(context: click.Context, words: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return the name of the command in `words` and its settings, parsed as the ranks parse them.

    A command line that the ranks would refuse is refused before they start, with the same message.
    """
    group = context.find_root().command
    assert isinstance(group, click.Group)
    name, command, rest = group.resolve_command(context, list(words))
    if name is None or command is None or name not in COMMANDS:
        raise InputError(f"launch {name}: launch starts {', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}")
    with command.make_context(name, rest, parent=context.parent) as inner:
        return name, inner.params
