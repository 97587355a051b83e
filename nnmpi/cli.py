"""The command line: flags → config → one function call.

Nothing here imports MPI, scikit-learn or what needs them before a command runs, so that ``--help`` answers at once.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnmpi import __version__
from nnmpi.commands.data_argument import DataCommand
from nnmpi.commands.streams import HelpContext, guard_streams, status_of_output
from nnmpi.config import Config, flag_of, shown
from nnmpi.errors import CommandError, InputError
from nnmpi.launching.slurm import parse_time
from nnmpi.text import message

if TYPE_CHECKING:
    from nnmpi.mpi.world import World


class _Parsed(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A flag whose text a function of `nnmpi.config` reads."""

    name = "text"

    def __init__(self, parse: Callable[[str], Any], allowed: str) -> None:
        self._parse, self._allowed = parse, allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"{value!r} is not allowed; allowed are {self._allowed}", param, ctx)


def _train_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Give `command` a flag for each field of `Config`."""
    kinds = {"int": int, "int | None": int, "float": float, "float | None": float}
    for f in reversed(fields(Config)):
        meta, flag = f.metadata, flag_of(f.name)
        kind: Any = kinds.get(str(getattr(f.type, "__name__", f.type)), str)
        if meta["choices"]:
            kind = click.Choice(meta["choices"])
        elif meta["parse"]:
            kind = _Parsed(meta["parse"], meta["allowed"])
        if isinstance(f.default, bool):
            flag, kind = f"{flag}/--no-{flag[2:]}", bool
        default = shown(f.default) if meta["parse"] else f.default
        show = default is not None
        command = click.option(flag, f.name, type=kind, default=default, show_default=show, help=meta["help"])(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="nnmpi")
def cli() -> None:
    """Train neural networks data-parallel over MPI.

    Start it with the launcher of your MPI, for example: mpirun -n 4 nnmpi train
    """


@cli.command(cls=DataCommand)
@_train_flags
def train(**settings: Any) -> int:
    """Train a network on DATA; results go to the directory --output."""
    config = Config(**settings)

    def work(world: "World") -> None:
        from nnmpi.commands.train import train  # after MPI has started: a rank that dies before cannot be done without

        train(config, world)

    return _run(work)


_model = click.argument("model", type=click.Path(path_type=Path))


@cli.command(cls=DataCommand)
@_model
@click.option("--data", help="The same as DATA.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all scores.")
def evaluate(model: Path, data: str | None, as_json: bool) -> int:
    """Score MODEL, the directory of a run or its model.safetensors.

    DATA is as for train, and all its samples count. By default it is the test part of what MODEL was trained on.
    """
    from nnmpi.commands.apply import evaluate_model

    return _run(lambda world: evaluate_model(model, data, as_json, world))


@cli.command(cls=DataCommand, needs_data=True)
@_model
@click.option("--data", help="The same as DATA.")
@click.option(
    "--part",
    type=click.Choice(("test", "validation", "training")),
    help="Only this part of what MODEL was trained on, with the number of each row; DATA may be left out.",
)
@click.option("--out", type=click.Path(path_type=Path), help="A .csv or .npz file to write instead of the screen.")
def predict(model: Path, data: str | None, part: str | None, out: Path | None) -> int:
    """Predict the class or number of every sample of DATA with MODEL.

    DATA is as for train, but needs no targets.
    """
    if out and out.suffix not in (".csv", ".npz"):
        raise InputError(f"--out {out}: allowed are files that end in .csv or .npz")
    from nnmpi.commands.apply import predict

    return _run(lambda world: predict(model, data, part, out, world))


@cli.command()
@click.argument("data")
@click.argument("out", type=click.Path(path_type=Path))
def convert(data: str, out: Path) -> int:
    """Write a large CSV file, or a directory of them, to one Parquet file OUT, in little memory.

    All ranks of a training read all of a CSV file, but their own part only of a Parquet file.
    """
    from nnmpi.commands.convert import convert

    convert(data, out)
    return 0


@cli.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The HTML file to write.  [default: report.html in RUN, or here]"
)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write a page about a run, or a page that compares several; it opens from disk and loads nothing."""
    from nnmpi.commands.report import report

    report(list(runs), out)


@cli.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--sort", metavar="METRIC", help="Order by this metric, the best run first, for example validation_loss.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
def compare(runs: tuple[Path, ...], sort: str | None, form: str | None) -> None:
    """Show in a table how runs differ in their settings and scores."""
    from nnmpi.commands.compare import compare_runs

    compare_runs(list(runs), sort, form or "table")


@cli.command()
def info() -> int:
    """Show what MPI, BLAS, threads, hosts and fault tolerance this command would use."""
    from nnmpi.commands.info import info

    return _run(info)


@cli.command(context_settings={"allow_interspersed_args": False}, options_metavar="-n RANKS [OPTIONS] --")
@click.option("-n", "--ranks", type=click.IntRange(min=1), required=True, help="How many ranks to start.")
@click.option(
    "--hostfile", type=click.Path(path_type=Path), help="Where to start them, in the syntax of the launcher's own."
)
@click.option(
    "--restarts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="How often to start a training that failed again, from its newest valid checkpoint.",
)
@click.option(
    "--fault-tolerance/--no-fault-tolerance",
    default=None,
    help="Open MPI: a training may go on without a lost rank.  [default: where the launcher was built with it]",
)
@click.option("--tag-output", is_flag=True, help="Begin each line of output with its rank.")
@click.option("--dry-run", is_flag=True, help="Show the command, in a line for a shell, and do not run it.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
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
    """Start COMMAND (train, evaluate, predict or info, with its flags) with the MPI launcher at hand.

    That is the mpiexec beside nnmpi's Python, else the first on PATH. For example:
    nnmpi launch -n 4 --restarts 3 -- train --data digits
    """
    from nnmpi.launching.find_mpiexec import check_outermost, find_launcher
    from nnmpi.launching.hostfile import read_hostfile
    from nnmpi.launching.mpiexec_command import Job
    from nnmpi.launching.mpiexec_command import command as build

    _check_surroundings()
    config = _training_config(context, command)
    if restarts and not config:
        raise InputError(f"--restarts {restarts} is for train; {command[0]} leaves nothing to go on from")
    check_outermost()
    launcher = find_launcher()
    hosts = read_hostfile(hostfile, launcher.mpi) if hostfile else []
    job = Job(ranks, command, hostfile, tag_output, fault_tolerance)
    first = build(launcher, job, hosts)
    if dry_run:
        print(first)
        return 0
    from nnmpi.commands.relay import relayed_output
    from nnmpi.files.run_directory import choose_directory
    from nnmpi.launching.restarts import once, supervise

    if config is None:
        with relayed_output():
            return once(launcher, job, hosts)
    directory = choose_directory(config.output, config.data, config.resume, config.overwrite)
    if not config.output:  # decided once: a restart goes on where the training began
        job = replace(job, arguments=(command[0], "--output", str(directory), *command[1:]))
        print(message(f"nnmpi: note: results go to {directory}"), file=sys.stderr, flush=True)
    with relayed_output():
        return supervise(launcher, job, hosts, restarts, directory)


@cli.command(context_settings={"allow_interspersed_args": False}, options_metavar="--nodes NODES [OPTIONS] --")
@click.option("--nodes", type=click.IntRange(min=1), required=True, help="How many nodes the job gets.")
@click.option("--ntasks-per-node", type=click.IntRange(min=1), default=1, show_default=True, help="Ranks on each node.")
@click.option(
    "--cpus-per-task", type=click.IntRange(min=1), default=1, show_default=True, help="Cores and threads of a rank."
)
@click.option(
    "--time",
    type=_Parsed(parse_time, "2h, 90m, 1d12h or D-HH:MM:SS"),
    help="Time limit; the job is queued again until the training is done.  [default: the partition's]",
)
@click.option(
    "--grace",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Seconds before the time limit at which the training writes a checkpoint and ends.",
)
@click.option("--partition", default="", help="Partition to run in.  [default: Slurm's]")
@click.option("--job-name", default="nnmpi", show_default=True, help="Name of the job, and of its output file.")
@click.option("--array", default="", help="A job for each index, such as 1-5; %a in COMMAND becomes the index.")
@click.option(
    "--mpi",
    type=click.Choice(("auto", "openmpi", "mpich", "intelmpi")),
    default="auto",
    show_default=True,
    help="Refuse any other MPI than this one.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_context
def slurm(
    context: click.Context, /, time: int | None, job_name: str, mpi: str, command: tuple[str, ...], **asked: Any
) -> int:
    """Write a job script that trains (COMMAND is train, with its flags) to standard output, for sbatch.

    For example: nnmpi slurm --nodes 4 --time 2h -- train --data digits | sbatch
    """
    from nnmpi.commands.slurm import write_script
    from nnmpi.launching.slurm import ARRAY_INDEX, SlurmJob, first_index

    job = SlurmJob(name=job_name, seconds=time, **asked)
    name, settings = _parse(context, tuple(word.replace(ARRAY_INDEX, first_index(job.array)) for word in command))
    if name is not train:
        raise InputError(f"slurm {command[0]}: a job script is written for train")
    write_script(job, mpi, Config(**settings), command)
    return 0


def _training_config(context: click.Context, words: tuple[str, ...]) -> Config | None:
    """The settings of the training that `words` ask for; None if they ask for another command.

    They are read as the ranks will read them, so that they are refused here, with the same words.
    """
    command, settings = _parse(context, words)
    return Config(**settings) if command is train else None


def _parse(context: click.Context, words: tuple[str, ...]) -> tuple[click.Command, dict[str, Any]]:
    """The command that `words` name, one of those that ranks run, and its settings."""
    name, command, rest = cli.resolve_command(context, list(words))
    if name is None or command not in (train, evaluate, predict, info):
        raise InputError(f"launch {name}: launch starts train, evaluate, predict or info")
    with command.make_context(name, rest, parent=context.parent) as inner:
        return command, inner.params


def _run(work: "Callable[[World], None]") -> int:
    from nnmpi.commands.job import run

    _check_surroundings()
    context = click.get_current_context()
    name, arguments = str(context.info_name), str(context.params)

    def checked(world: "World") -> None:
        if name != "train":  # which does so itself, where ranks may die meanwhile
            world.check_same({"commands": name.encode(), "arguments": arguments.encode(errors="backslashreplace")})
        work(world)

    return run(checked)


def _check_surroundings() -> None:
    """See to what MPI needs: a working directory, and the name of a home, which some batch systems leave out."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working directory cannot be used ({error.strerror}): cd to one that exists") from None
    if not os.environ.get("HOME"):
        home = os.path.expanduser("~")
        os.environ["HOME"] = home if os.path.isabs(home) else "/"


for _command in (cli, *cli.commands.values()):
    _command.context_class = HelpContext


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Status 0: done. 2: bad usage or bad input, with one line that says what to change. 1: anything else.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    guard_streams()
    try:
        status = cli.main(arguments, prog_name="nnmpi", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except (click.ClickException, CommandError) as error:
        status = _refuse(error)
    except click.Abort:
        status = 130
    if status == 0 and not {"train", "launch"}.intersection(arguments[:1]):  # a training leaves files, and is done
        status = status_of_output()
    sys.exit(status)


def _refuse(error: click.ClickException | CommandError) -> int:
    """Say what is wrong, once for all ranks; where there are others, they must not wait for this one."""
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
    except CommandError as no_mpi:
        refusal = no_mpi
    return end_unstarted(refusal)
