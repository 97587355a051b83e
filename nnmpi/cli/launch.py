"""The command ``launch``."""

from dataclasses import replace
from pathlib import Path

import click

from nnmpi.cli import ranks as on_ranks
from nnmpi.cli.settings import config_of
from nnmpi.errors import InputError


@click.command(
    short_help="Start a command on several ranks with the MPI launcher.",
    context_settings={"allow_interspersed_args": False},
    options_metavar="-n RANKS [OPTIONS] --",
)
@click.option("-n", "--ranks", type=click.IntRange(min=1), required=True, help="Number of ranks.")
@click.option(
    "--hostfile",
    type=click.Path(path_type=Path),
    help="File of the hosts for the ranks, in the launcher's own syntax.  [default: this host or the batch job's]",
)
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Number of times to restart a failed training, from its newest valid checkpoint.",
)
@click.option(
    "--fault-tolerance/--no-fault-tolerance",
    default=None,
    help="Open MPI only: continue a training without a lost rank.  [default: on if the launcher was built with it]",
)
@click.option("--tag-output", is_flag=True, help="Begin each line of output with its rank.")
@click.option(
    "--dry-run", is_flag=True, help="Print the launcher's command, in one line for a shell, and do not run it."
)
@on_ranks.command_argument
@click.pass_context
def launch(
    context: click.Context,
    ranks: int,
    hostfile: Path | None,
    restarts: int,
    fault_tolerance: bool | None,
    tag_output: bool,
    dry_run: bool,
    command: tuple[str, ...],
) -> int:
    """Start COMMAND (train, lr-find, evaluate, predict or info, with its flags) on several ranks.

    The MPI launcher is the mpiexec beside nnmpi's Python, else the first one on PATH. For example:
    nnmpi launch -n 4 --restarts 3 -- train --data digits
    """
    from nnmpi.launching.find_mpiexec import check_allocation, check_outermost, find_launcher
    from nnmpi.launching.hostfile import read_hostfile
    from nnmpi.launching.mpiexec_command import Job
    from nnmpi.launching.mpiexec_command import command as build

    on_ranks.check_surroundings()
    name, settings = on_ranks.parse(context, command)
    config = config_of(settings) if name == "train" and not settings["dry_run"] else None
    if restarts and not config:
        raise InputError(f"--restarts {restarts} is for train; {name} writes no checkpoint to restart from")
    check_outermost()
    launcher = find_launcher()
    hosts = read_hostfile(hostfile, launcher.mpi) if hostfile else []
    job = Job(ranks, command, hostfile, tag_output, fault_tolerance)
    launcher_command = build(launcher, job, hosts)
    if dry_run:
        print(launcher_command)
        return 0
    if not hosts:
        check_allocation()
    limit = None
    from nnmpi.commands.relay import relayed_output
    from nnmpi.commands.streams import status_after
    from nnmpi.files.run_directory import choose_directory
    from nnmpi.launching.restarts import once, supervise

    if name == "info":
        from nnmpi.commands.info import launched_time_limit, show_unreached

        if show_unreached(hosts, settings["machine_readable"]):
            return 1
        limit = launched_time_limit(ranks)
    if config is None:
        with relayed_output() as outputs:
            status = once(launcher, job, hosts, limit)
        return status or (status_after(outputs[1].error) if 1 in outputs else 0)
    directory = choose_directory(config.output, config.data, config.resume, config.overwrite)
    if not config.output:  # decided once: a restart uses the directory of the first attempt
        job = replace(job, arguments=(command[0], "--output", str(directory), *command[1:]))
    with relayed_output():
        return supervise(launcher, job, hosts, restarts, directory)
