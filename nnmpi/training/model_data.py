"""Data for a model that is trained: as it was trained on, in columns and features."""

import dataclasses

from nnmpi.data.held import HeldRows, Indices
from nnmpi.data.shards import default_shards, held_shards
from nnmpi.data.sources import Columns, Source, open_source
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.files.model import Model
from nnmpi.mpi.world import World
from nnmpi.training.samples import Samples


def source_for(model: Model, data: str, targets: bool = True, trusted: bool = True) -> Source:
    """The source called `data`, with the columns that `model` takes if it was trained on a table.

    Raises
    ------
    InputError
        If it cannot be opened or does not go with the model.
    """
    if isinstance(model.scaler, Encoding):
        target = Columns(target=model.recipe.target) if targets else Columns()
        source = open_source(data, targets, trusted, target, model.scaler.columns)
        features = len(model.scaler.columns)
    else:
        source = open_source(data, targets, trusted)
        features = model.architecture.sizes[0]
        for column in source.columns or ():
            if column.kind != "number" or column.part:
                raise InputError(
                    f"--data {data}: column {column.name} holds no numbers, but the model was trained on arrays of them"
                )
        source = dataclasses.replace(source, columns=None)
    if source.features != features:
        raise InputError(
            f"the model takes {features} features, --data {data} has {source.features}; give data of the kind "
            f"it was trained on, {model.recipe.data}"
        )
    return source


def source_of(model: Model) -> Source:
    """What a model was trained on. The model may be a stranger's: the worst that its name can do is to be read."""
    try:
        return source_for(model, model.recipe.data, trusted=False)
    except InputError as error:
        raise InputError(f"{error}. This is what the model was trained on: give other data with --data") from None


def samples_for(model: Model, source: Source, parts: list[Indices], world: World, labelled: bool = True) -> Samples:
    """The share of this rank in the rows of each part."""
    shards = default_shards(world.size)
    rows = HeldRows(source, parts, shards, held_shards(shards, world.size, world.rank), model.architecture.dtype)
    return Samples(rows, model.targets, labelled)
