"""Data for a trained model, with the columns, features and parts that it was trained on."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np

from nnmpi.arrays import Indices
from nnmpi.data.parts import Part, split
from nnmpi.data.shards import default_shards
from nnmpi.data.sources import Columns, Source, open_source
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.files.model import Model, Recipe
from nnmpi.mpi.world import World
from nnmpi.training.agreement import check_same_data
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.samples import HeldSamples, read_samples


def source_for(model: Model, data: str, targets: bool = True, trusted: bool = True) -> Source:
    """Open the source `data`; for a model that was trained on a table, with the columns of that table.

    Raises
    ------
    InputError
        If the source cannot be opened or does not fit the model.
    """
    recipe, columns = model.recipe, Columns()
    if targets:
        classes = model.targets.classes
        is_text = classes is not None and classes.dtype.kind == "U"
        columns = Columns(recipe.target, weight=recipe.sample_weight, needs_weight=False, target_is_text=is_text)
    if isinstance(model.scaler, Encoding):
        features = len(model.scaler.columns)
        source = open_source(data, targets, trusted, columns, model.scaler.columns, features)
    else:
        features = model.architecture.sizes[0]
        source = open_source(data, targets, trusted, columns, None, features, recipe.first_index)
        for column in source.columns or ():
            if column.kind != "number" or column.part:
                raise InputError(
                    f"--data {data}: column {column.name} does not hold numbers, but the model was trained on "
                    "arrays of numbers"
                )
        source = dataclasses.replace(source, columns=None)
    if source.features != features:
        raise InputError(
            f"the model takes {features} features, --data {data} has {source.features}; give data with the features "
            f"of {model.recipe.data}, which it was trained on"
        )
    return source


def part_of(model: Model, name: str, data: str | None, world: World) -> tuple[Source, Part]:
    """Read the part `name` (training, validation or test) of the data of a model's training. All ranks take part.

    Parameters
    ----------
    data
        Where the data are now; None opens the data that the model file names.

    Raises
    ------
    InputError
        On all ranks, if there is no such part, or the data have changed since the training.
    """
    recipe = model.recipe
    separate = {"test": recipe.test_data, "validation": recipe.validation_data}.get(name)  # data of its own
    if name == "validation" and not (separate or recipe.validation_fraction):
        raise InputError("--part validation: the run had no validation part; allowed are test, training", shared=True)
    expected = recipe.data_digest if separate is None else recipe.test_digest if name == "test" else None
    with world.together():
        source = source_for(model, data) if data else _recorded_source(model, separate or recipe.data)
    check_same_data(source, world)
    source = gather_targets(source, world)
    with _errors_as_changes(expected, source.name, name):
        with world.together():
            rows = np.arange(source.size)
            if separate is None:
                rows = _rows_of(recipe, source, name)
        samples = samples_for(model, source, [rows, np.setdiff1d(np.arange(source.size), rows)], world)
    if expected not in (None, samples.digest(world)):
        change = "features, targets, weights or the order of the rows have changed"
        raise InputError(_changed_text(source.name, name, change), shared=True)
    with world.together():
        return source, samples.parts(model.scaler, model.target_scaler, model.architecture.dtype)[0]


def _rows_of(recipe: Recipe, source: Source, part: str) -> Indices:
    test_fraction = 0.0 if recipe.test_data else recipe.test_fraction
    # the test part is drawn first, so it does not depend on the validation part
    validation_fraction = 0.0 if part == "test" else recipe.validation_fraction
    rows: Indices = vars(split(source, test_fraction, validation_fraction, recipe.seed, recipe.stratify))[part]
    return rows


def _recorded_source(model: Model, data: str) -> Source:
    """Open the data that a model file names. The file may come from a stranger, so the name is not `trusted`."""
    try:
        return source_for(model, data, trusted=False)
    except InputError as error:
        raise InputError(f"{error}. The model was trained on these data: give other data with --data") from None


@contextlib.contextmanager
def _errors_as_changes(digest: str | None, data: str, part: str) -> Iterator[None]:
    """Report an error in the data as a change since the training, if the model has a digest of them."""
    try:
        yield
    except InputError as error:
        if digest is None:
            raise
        raise InputError(_changed_text(data, part, str(error)), shared=error.shared) from None


def _changed_text(data: str, part: str, change: str) -> str:
    return (
        f"--data {data} is not what the model was trained on, so its {part} part is unknown: {change}. "
        f"Restore the old data; or use all rows of these: evaluate MODEL {data}, or predict MODEL {data} without --part"
    )


def samples_for(model: Model, source: Source, parts: list[Indices], world: World, labelled: bool = True) -> HeldSamples:
    """Read the rows of each part that belong to this rank's shards. All ranks take part."""
    dtype = model.architecture.dtype
    return read_samples(source, parts, default_shards(world.size), dtype, model.targets, world, labelled)
