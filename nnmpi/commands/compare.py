"""The command ``compare``: print several runs in one table."""

import os
import sys
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnmpi.errors import InputError
from nnmpi.mpi.launcher import launched
from nnmpi.report.compare import Comparison, compare
from nnmpi.report.run_files import read_run
from nnmpi.text import printable, score_text

WIDEST = 24  # characters of a cell
GAP = 2  # characters between columns
FILE_WIDTH = 120  # characters of a line if the output is not a terminal


def compare_runs(directories: list[Path], sort: str | None, form: str) -> None:
    """Print a table of runs (`form` "table"), CSV ("csv") or JSON ("json"), on rank 0.

    Raises
    ------
    InputError
        If no run can be read, or none has the metric `sort`.
    """
    if launched()[2] > 0:
        return
    runs = [read_run(directory) for directory in directories]
    if not any(run.settings for run in runs):
        raise InputError(f"compare: no run can be read: {directories[0]}: {runs[0].problem}")
    comparison = compare(runs, sort)
    if form == "json":
        print(comparison.as_json())
    elif form == "csv":
        sys.stdout.write(comparison.as_csv())
    else:
        _print(comparison)


def _print(comparison: Comparison) -> None:
    console = Console(soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=FILE_WIDTH)
    columns, hidden = _columns(comparison, console.width)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column, (head, *_) in enumerate(columns):
        table.add_column(Text(head), no_wrap=True, overflow="ellipsis", justify="left" if column == 0 else "right")
    for row in zip(*(cells[1:] for cells in columns), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    for name, run in zip(comparison.names, comparison.runs, strict=True):
        if run.problem:
            console.print(Text(printable(f"{name}: {run.note}")))
    if hidden:
        console.print(Text(f"not shown at {console.width} columns: {', '.join(hidden)}; see --csv or --json"))


def _columns(comparison: Comparison, width: int) -> tuple[list[list[str]], list[str]]:
    """Return the columns that fit into `width` characters, each with its head first, and the heads of the others.

    Columns are chosen in this order: run, state, the metric of the sort order, settings that differ, other metrics.
    """
    runs = comparison.runs
    scores = [run.scores() for run in runs]
    metrics = [
        [name.replace("_", " "), *(score_text(s[name]) if name in s else "" for s in scores)]
        for name in comparison.metrics
    ]
    settings = [
        [name.replace("_", " "), *(comparison.setting(run, name) for run in runs)] for name in comparison.settings
    ]
    names = ["run", *comparison.names]
    state = ["state", *("" if run.state == "finished" else run.state for run in runs)]
    all_columns = [names, *([state] if any(state[1:]) else []), *metrics[:1], *settings, *metrics[1:]]
    columns: list[list[str]] = []
    hidden = []
    free_width = width
    for cells in ([_short(cell) for cell in column] for column in all_columns):
        column_width = max(map(cell_len, cells)) + GAP
        if column_width <= free_width or not columns:
            columns.append(cells)
            free_width -= column_width
        else:
            hidden.append(cells[0])
    return columns, hidden


def _short(cell: str) -> str:
    """Shorten a cell to its last `WIDEST` characters: ends differ more often than beginnings."""
    cell = printable(cell)
    return cell if len(cell) <= WIDEST else "…" + cell[1 - WIDEST :]
