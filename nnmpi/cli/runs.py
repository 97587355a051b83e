"""The commands about finished runs: ``report`` and ``compare``."""

from pathlib import Path

import click


@click.command(short_help="Write an HTML page about one run or several.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="HTML file to write.  [default: report.html in RUN; of several runs, in the working directory]",
)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write an HTML page about one run, or one that compares several. The page is a single file."""
    from nnmpi.commands.report import report

    report(list(runs), out)


@click.command(short_help="Show how runs differ in settings and scores.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--sort",
    metavar="METRIC",
    help="Metric to sort by, such as validation_loss, best run first.  [default: a validation or test score]",
)
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
def compare(runs: tuple[Path, ...], sort: str | None, form: str | None) -> None:
    """Show a table of the settings in which runs differ, and of their scores."""
    from nnmpi.commands.compare import compare_runs

    compare_runs(list(runs), sort, form or "table")
