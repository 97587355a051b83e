"""Help in sections, printed by click's own formatter: the library for sections, cloup, takes 60 ms to import."""

from typing import Any

import click

from nnmpi.commands.data_argument import DataCommand

# the sections of the help of ``train`` and ``lr-find``: each flag is in one section, in this order
GROUPS = {
    "Sweep": ("lowest", "highest", "picture"),  # of lr-find
    "Data": (
        *("data", "target", "drop", "categories", "task", "test_fraction", "test_data", "validation_fraction"),
        *("validation_data", "stratify", "class_weight", "sample_weight", "augment", "seed"),
    ),
    "Network": ("hidden", "activation", "output_activation", "loss", "dtype"),
    "Optimization": (
        *("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "nesterov", "lr_schedule", "lr_decay"),
        *("lr_step_epochs", "lr_step_factor", "warmup_epochs"),
    ),
    "Regularization": ("l2", "dropout", "early_stopping"),
    "Evaluation": ("monitor", "report", "log"),
    "Distributed": (
        *("shards", "deterministic", "bucket_mb", "compress", "threads", "verify_replicas", "stall_timeout"),
        "timeline",
    ),
    "Output": ("output", "overwrite", "resume", "checkpoint_every", "keep", "progress", "quiet", "json"),
    "Command": ("config", "dry_run", "help", "help_all"),
}

SECTIONS = {name: group for group, names in GROUPS.items() for name in names}  # the section of each flag
POSITIONS = {name: position for position, name in enumerate(SECTIONS)}

# flags that only --help-all shows
RARE = frozenset(
    {
        *("output_activation", "nesterov", "lr_decay", "lr_step_epochs", "lr_step_factor", "bucket_mb", "keep"),
        *("verify_replicas", "stall_timeout", "timeline"),
    }
)

ALL = "nnmpi.help_all"  # key in ``Context.meta``: true if the help shows rare flags, too


class OrderedGroup(click.Group):
    """A group that lists its commands in the order in which they were added: that of a first session."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


class SectionedCommand(DataCommand):
    """A command whose help has the sections of `GROUPS`; ``--help-all`` also shows the rare flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text = "Show this message with all flags, also the rare ones, and exit."
        self.params.append(
            click.Option(["--help-all"], help=text, is_flag=True, is_eager=True, expose_value=False, callback=_show_all)
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group of flags."""
        records: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, "Other")}
        for parameter in sorted(self.get_params(ctx), key=lambda p: POSITIONS.get(_name(p), len(POSITIONS))):
            name = _name(parameter)
            record = parameter.get_help_record(ctx)
            if not isinstance(parameter, click.Option) or not record:
                continue
            if name not in RARE or ctx.meta.get(ALL):
                records[SECTIONS.get(name, "Other")].append(record)
        for group, rows in records.items():
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


def _name(parameter: click.Parameter) -> str:
    return "help" if "--help" in parameter.opts else str(parameter.name)  # click names this parameter differently


def _show_all(context: click.Context, parameter: click.Parameter, show: bool) -> None:
    if show and not context.resilient_parsing:
        context.meta[ALL] = True
        click.echo(context.get_help())
        context.exit()
