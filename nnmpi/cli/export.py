"""The command ``export``."""

from pathlib import Path

import click


@click.command(short_help="Write a model for ONNX or scikit-learn.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="First compare predictions for the test part with those of nnmpi.")
@click.option("--data", help="Data for --check, if they have moved since the training.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
def export(model: Path, out: Path, check: bool, data: str | None, overwrite: bool) -> int:
    """Write MODEL, the directory of a run or its model.safetensors, to FILE for other programs.

    FILE ends in .onnx, or in .skops or .joblib for a fitted scikit-learn pipeline. The exported model takes raw rows:
    it includes the scaling and the encoding of a table.
    """
    if data and not check:
        raise click.UsageError("--data is for --check: add it, or leave out --data")
    from nnmpi.commands.export import export_model

    export_model(model, out, check, data, overwrite)
    return 0
