"""Help in sections: click's own formatter prints them. A library for it (cloup) takes 60 ms to import."""

from typing import Any

import click

from nnmpi.cli.groups import GROUPS, RARE, group_of
from nnmpi.commands.data_argument import DataCommand

ALL = "nnmpi.help_all"  # where a context notes that rare flags are shown, too


class OrderedGroup(click.Group):
    """Commands in the order in which they were added, which is that of a first session."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands."""
        return list(self.commands)


class SectionedCommand(DataCommand):
    """A command whose flags stand in the sections of `GROUPS`; ``--help-all`` shows the rare ones, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        show = "Show this message and the flags that are rarely used, and exit."
        self.params.append(
            click.Option(["--help-all"], help=show, is_flag=True, is_eager=True, expose_value=False, callback=_show_all)
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group."""
        records: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, "Other")}
        for parameter in sorted(self.get_params(ctx), key=_position):
            name = _name(parameter)
            record = parameter.get_help_record(ctx)
            if not isinstance(parameter, click.Option) or not record:
                continue
            if name not in RARE or ctx.meta.get(ALL):
                records[group_of(name)].append(record)
        for group, rows in records.items():
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


def _position(parameter: click.Parameter) -> int:
    names = GROUPS.get(group_of(_name(parameter)), ())
    return names.index(_name(parameter)) if _name(parameter) in names else len(names)


def _name(parameter: click.Parameter) -> str:
    return "help" if "--help" in parameter.opts else str(parameter.name)  # click has a name of its own for that one


def _show_all(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        context.meta[ALL] = True
        click.echo(context.get_help())
        context.exit()
