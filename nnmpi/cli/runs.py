"""The commands about finished runs: ``report`` and ``compare``."""

from pathlib import Path

import click


@click.command(short_help="Write an HTML page about one run or several.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="The HTML file to write.  [default: report.html in RUN, or here]"
)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write a page about a run, or a page that compares several; it opens from disk and loads nothing."""
    from nnmpi.commands.report import report

    report(list(runs), out)


@click.command(short_help="Show how runs differ in settings and scores.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--sort", metavar="METRIC", help="Order by this metric, the best run first, for example validation_loss.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
def compare(runs: tuple[Path, ...], sort: str | None, form: str | None) -> None:
    """Show in a table how runs differ in their settings and scores."""
    from nnmpi.commands.compare import compare_runs

    compare_runs(list(runs), sort, form or "table")
