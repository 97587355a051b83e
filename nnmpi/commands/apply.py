"""Using a trained model: the commands ``evaluate`` and ``predict``, on any number of ranks."""

import csv
import io
import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from nnmpi.data.parts import Part, load_part, split
from nnmpi.data.shards import default_shards, held_shards
from nnmpi.data.sources import Source, open_source
from nnmpi.environment import set_threads
from nnmpi.errors import InputError
from nnmpi.files.atomic import check_replaceable, whole_file
from nnmpi.files.model import Model, Recipe, read_model
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network, decide
from nnmpi.text import printable
from nnmpi.training.evaluation import CHUNK, evaluate


def evaluate_model(path: Path, data: str | None, world: World) -> None:
    """Print the scores of a model: on all of `data`, or on the test part of what it was trained on.

    Raises
    ------
    InputError
        On all ranks, if the model cannot be read or the data do not go with it.
    """
    world.check_launcher(training=False)
    set_threads(world.threads())
    with world.together():
        model = read_model(path)
        recipe = model.recipe
        source = open_source(data) if data else _source_of(recipe)
        rows = np.arange(source.size)
        if data is None:
            rows = split(source, recipe.test_fraction, 0.0, recipe.seed, recipe.stratify).test
        part = _load(model, source, rows, world, labelled=True)
    network = Network(model.architecture, model.parameters, CHUNK)
    with np.errstate(over="ignore", invalid="ignore"):  # as in training: a loss may be infinite
        scores = evaluate(network, part, model.targets, world)
    if world.rank == 0:
        which = "all samples" if data else f"the test part, drawn with seed {recipe.seed},"
        print(f"{scores.samples} samples: {which} of {printable(source.name)}")
        print(scores.line("test"), flush=True)


def predict(path: Path, data: str, out: Path | None, world: World) -> None:
    """Write the prediction for every sample of `data` to `out`, or print them; rank 0 writes.

    Raises
    ------
    InputError
        On all ranks, if the model or the data cannot be read or `out` cannot be written.
    """
    world.check_launcher(training=False)
    set_threads(world.threads())
    with world.together():
        if out and world.rank == 0:
            _check_out(out)
        model = read_model(path)
        source = open_source(data, targets=False)
        part = _load(model, source, np.arange(source.size), world, labelled=False)
    network = Network(model.architecture, model.parameters, CHUNK)
    outputs = np.empty((len(part.x), model.targets.outputs), part.x.dtype)
    codes = np.empty((len(part.x), 1), np.intp)
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for size in part.sizes:
            for a in range(start, start + size, CHUNK):
                b = min(a + CHUNK, start + size)
                codes[a:b, 0] = decide(network.forward(network.bind([part.x[a:b].T]))[0])
                outputs[a:b] = network.predict(part.x[a:b].T).T
            start += size
    outputs, codes = world.gather_rows(outputs), world.gather_rows(codes)  # in the order of the rows
    with world.together():
        if world.rank == 0:
            _write(model, outputs, codes[:, 0], out)


def _check_out(out: Path) -> None:
    """Find out now what would go wrong when all is computed."""
    try:
        check_replaceable(out)
        if not out.parent.is_dir():
            raise NotADirectoryError(0, f"{out.parent} is not a directory")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror}); choose another file") from None


def _source_of(recipe: Recipe) -> Source:
    """What a model was trained on. The model may be a stranger's: the worst that its name can do is to be read."""
    try:
        return open_source(recipe.data, trusted=False)
    except InputError as error:
        raise InputError(f"{error}. This is what the model was trained on: give other data with --data") from None


def _load(model: Model, source: Source, rows: npt.NDArray[np.intp], world: World, labelled: bool) -> Part:
    features = model.architecture.sizes[0]
    if source.features != features:
        raise InputError(
            f"the model takes {features} features, --data {source.name} has {source.features}; give data of the kind "
            f"it was trained on, {model.recipe.data}"
        )
    shards = default_shards(world.size)
    held = held_shards(shards, world.size, world.rank)
    targets = model.targets if labelled else None
    part = load_part(source, rows, shards, held, targets, model.architecture.dtype)
    model.scaler.transform(part.x[:, 1:])
    if labelled and model.target_scaler:
        model.target_scaler.transform(part.y)
    return part


def _write(model: Model, outputs: npt.NDArray[Any], codes: npt.NDArray[np.intp], out: Path | None) -> None:
    classes = model.targets.classes
    if classes is None:
        assert model.target_scaler
        prediction = outputs * model.target_scaler.scale + model.target_scaler.mean
        table = {"prediction": prediction if prediction.shape[1] > 1 else prediction[:, 0]}
    else:
        table = {"prediction": classes[codes]}
        if model.architecture.output_activation != "identity":
            both = outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
            table["probability"] = both
            table["classes"] = classes
    if out is None:
        shown = table["prediction"]
        if shown.dtype.kind == "U":
            shown = np.array([printable(label) for label in classes.tolist()])[codes]  # type: ignore[union-attr]
        np.savetxt(sys.stdout, shown, fmt="%s")
        return
    try:
        with whole_file(out, sync=False) as file:
            if out.suffix == ".npz":
                np.savez(file, **table)  # type: ignore[arg-type]  # no name is an option of savez
            else:
                with io.TextIOWrapper(file, "utf-8", newline="") as text:
                    _write_csv(table, text)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror})") from None
    print(f"{len(outputs)} predictions written to {printable(str(out))}")


def _write_csv(table: dict[str, npt.NDArray[Any]], file: TextIO) -> None:
    """One row a sample: the prediction, then the probability of each class."""
    prediction = table["prediction"].reshape(len(table["prediction"]), -1)
    header = ["prediction"] if prediction.shape[1] == 1 else [f"prediction_{i}" for i in range(prediction.shape[1])]
    columns = [prediction]
    if "probability" in table:
        header += [f"probability_{label}" for label in table["classes"]]
        columns.append(table["probability"])
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows([value for part in row for value in part.tolist()] for row in zip(*columns, strict=True))
