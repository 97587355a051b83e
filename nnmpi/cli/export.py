"""The command ``export``."""

from pathlib import Path

import click


@click.command(short_help="Write a model for ONNX or scikit-learn.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Compare its predictions for the test part with those of nnmpi first.")
@click.option("--data", help="Where the data of --check are now, if not where they were.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
def export(model: Path, out: Path, check: bool, data: str | None, overwrite: bool) -> int:
    """Write MODEL, the directory of a run or its model.safetensors, to FILE for other programs.

    FILE ends in .onnx, or in .skops or .joblib for a fitted scikit-learn pipeline. Raw rows go in: the scaling and the
    encoding of a table are inside.
    """
    if data and not check:
        raise click.UsageError("--data is for --check: add it, or leave out --data")
    from nnmpi.commands.export import export_model

    export_model(model, out, check, data, overwrite)
    return 0
