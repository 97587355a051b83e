"""The command ``convert``."""

from pathlib import Path

import click


@click.command(short_help="Write CSV files as one Parquet file.")
@click.argument("data")
@click.argument("out", type=click.Path(path_type=Path))
def convert(data: str, out: Path) -> int:
    """Write DATA, a large CSV file or a directory of them, to one Parquet file OUT, in little memory.

    In a training each rank reads a CSV file completely, but only its own part of a Parquet file.
    """
    from nnmpi.commands.convert import convert

    convert(data, out)
    return 0
