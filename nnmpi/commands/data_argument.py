"""Commands that take data as their last argument, DATA, or as ``--data``, which means the same."""

from typing import Any

import click
from click.core import ParameterSource


class DataCommand(click.Command):
    """A command whose flag ``--data`` can also be given as the argument DATA."""

    def __init__(self, *args: Any, needs_data: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._needs_data = needs_data
        self.params.append(click.Argument(["argument"], required=False, metavar="DATA" if needs_data else "[DATA]"))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse `args` and store the data in the parameter ``data``, whichever way they were given."""
        rest = super().parse_args(ctx, args)
        argument, flag = ctx.params.pop("argument", None), ctx.params["data"]
        if argument is not None:
            if ctx.get_parameter_source("data") == ParameterSource.COMMANDLINE and flag != argument:
                raise click.UsageError(f"DATA is {argument!r} and --data is {flag!r}; give only one", ctx)
            ctx.params["data"] = argument
        elif flag is None and self._needs_data and not ctx.params.get("part") and not ctx.resilient_parsing:
            raise click.UsageError(
                "DATA is missing; give the samples to predict: a path, or the name of a data set", ctx
            )
        return rest
