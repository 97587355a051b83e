"""Data for a model that is trained: as it was trained on, in columns, features and parts."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np

from nnmpi.data.held import Indices
from nnmpi.data.parts import Part, split
from nnmpi.data.shards import default_shards
from nnmpi.data.sources import Columns, Source, open_source
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.files.model import Model, Recipe
from nnmpi.mpi.world import World
from nnmpi.training.agreement import check_same_data
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.samples import Samples, read_samples


def source_for(model: Model, data: str, targets: bool = True, trusted: bool = True) -> Source:
    """The source called `data`, with the columns that `model` takes if it was trained on a table.

    Raises
    ------
    InputError
        If it cannot be opened or does not go with the model.
    """
    recipe, columns = model.recipe, Columns()
    if targets:
        columns = Columns(recipe.target, weight=recipe.sample_weight, needs_weight=False)
    if isinstance(model.scaler, Encoding):
        source = open_source(data, targets, trusted, columns, model.scaler.columns)
        features = len(model.scaler.columns)
    else:
        source = open_source(data, targets, trusted, columns)
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


def part_of(model: Model, name: str, data: str | None, world: World) -> tuple[Source, Part]:
    """The part `name` (training, validation or test) of what a model was trained on; all ranks take part.

    Parameters
    ----------
    data
        Where the data are now, if not where they were.

    Raises
    ------
    InputError
        On all ranks, if there is no such part, or the data are no longer what the model was trained on.
    """
    recipe = model.recipe
    own = {"test": recipe.test_data, "validation": recipe.validation_data}.get(name)
    if name == "validation" and not (own or recipe.validation_fraction):
        raise InputError("--part validation: the run had no validation part; allowed are test, training", shared=True)
    expected = recipe.data_digest if own is None else recipe.test_digest if name == "test" else None
    with world.together():
        source = source_for(model, data) if data else _recorded(model, own or recipe.data)
    check_same_data(source, world)
    source = gather_targets(source, world)
    with _changed(expected, source.name, name):
        with world.together():
            rows = np.arange(source.size)
            if own is None:
                rows = _rows_of(recipe, source, name)
        samples = samples_for(model, source, [rows, np.setdiff1d(np.arange(source.size), rows)], world)
    if expected not in (None, samples.digest(world)):
        what = "features, targets, weights or the order of the rows are others"
        raise InputError(_changed_text(source.name, name, what), shared=True)
    with world.together():
        return source, samples.parts(model.scaler, model.target_scaler, model.architecture.dtype)[0]


def _rows_of(recipe: Recipe, source: Source, part: str) -> Indices:
    test_fraction = 0.0 if recipe.test_data else recipe.test_fraction
    # the test part is drawn first: it is the same whatever the validation part is
    validation_fraction = 0.0 if part == "test" else recipe.validation_fraction
    rows: Indices = vars(split(source, test_fraction, validation_fraction, recipe.seed, recipe.stratify))[part]
    return rows


def _recorded(model: Model, data: str) -> Source:
    """What a model was trained on. The model may be a stranger's: the worst that its name can do is to be read."""
    try:
        return source_for(model, data, trusted=False)
    except InputError as error:
        raise InputError(f"{error}. This is what the model was trained on: give other data with --data") from None


@contextlib.contextmanager
def _changed(digest: str | None, data: str, part: str) -> Iterator[None]:
    """What is wrong with data that a model was trained on comes from a change since."""
    try:
        yield
    except InputError as error:
        if digest is None:
            raise
        raise InputError(_changed_text(data, part, str(error)), shared=error.shared) from None


def _changed_text(data: str, part: str, what: str) -> str:
    return (
        f"--data {data} is not what the model was trained on, so its {part} part is not known: {what}. "
        f"To score all its rows, give --data {data}"
    )


def samples_for(model: Model, source: Source, parts: list[Indices], world: World, labelled: bool = True) -> Samples:
    """The share of this rank in the rows of each part; all ranks take part."""
    dtype = model.architecture.dtype
    return read_samples(source, parts, default_shards(world.size), dtype, model.targets, world, labelled)
