"""The commands that use a trained model: ``evaluate`` and ``predict``."""

from pathlib import Path

import click

from nnmpi.cli import ranks
from nnmpi.commands.data_argument import DataCommand
from nnmpi.errors import InputError

_model = click.argument("model", type=click.Path(path_type=Path))


@click.command(cls=DataCommand)
@_model
@click.option("--data", help="The same as DATA.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all scores.")
def evaluate(model: Path, data: str | None, as_json: bool) -> int:
    """Score MODEL, the directory of a run or its model.safetensors.

    DATA takes the same values as for train; all its samples are scored. By default the test part of the data that
    MODEL was trained on is scored.
    """
    from nnmpi.commands.apply import evaluate_model

    return ranks.run(lambda world: evaluate_model(model, data, as_json, world))


@click.command(cls=DataCommand, needs_data=True)
@_model
@click.option("--data", help="The same as DATA.")
@click.option(
    "--part",
    type=click.Choice(("test", "validation", "training")),
    help="Predict one part of the data that MODEL was trained on, with row numbers in --out; DATA is then optional.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .csv or .npz file for the predictions. By default they are printed.",
)
def predict(model: Path, data: str | None, part: str | None, out: Path | None) -> int:
    """Predict the targets of every sample of DATA with MODEL.

    MODEL is the directory of a run or its model.safetensors. DATA takes the same values as for train, but needs no
    targets.
    """
    if out and out.suffix not in (".csv", ".npz"):
        raise InputError(f"--out {out}: allowed are files that end in .csv or .npz")
    from nnmpi.commands.apply import predict

    return ranks.run(lambda world: predict(model, data, part, out, world))
