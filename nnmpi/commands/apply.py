"""Using a trained model: the commands ``evaluate`` and ``predict``, on any number of ranks."""

import contextlib
import csv
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from nnmpi.data.parts import Part, split
from nnmpi.environment import set_threads
from nnmpi.errors import InputError
from nnmpi.files.atomic import check_replaceable, whole_file
from nnmpi.files.model import Model, Recipe, read_model
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network, decide
from nnmpi.text import printable
from nnmpi.training.agreement import check_same_data, check_same_model
from nnmpi.training.evaluation import CHUNK, evaluate
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.model_data import samples_for, source_for, source_of


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
    check_same_model(path, model, world)
    recipe = model.recipe
    with world.together():
        source = source_for(model, data) if data else source_of(model)
    check_same_data(source, world)
    source = gather_targets(source, world)
    with world.together(), _changed(None if data else recipe):
        rows = np.arange(source.size)
        parts = [rows]
        if data is None:
            test = split(source, recipe.test_fraction, 0.0, recipe.seed, recipe.stratify).test
            parts = [test, np.setdiff1d(rows, test)]
        samples = samples_for(model, source, parts, world)
    if data is None and recipe.data_digest not in (None, samples.digest(world)):
        raise InputError(_changed_text(recipe, "features, targets or the order of the rows are others"), shared=True)
    with world.together():
        part = samples.parts(model.scaler, model.target_scaler, model.architecture.dtype)[0]
    network = Network(model.architecture, model.parameters, CHUNK)
    with np.errstate(over="ignore", invalid="ignore"):
        scores = evaluate(network, part, model.targets, world, model.target_scaler)
    if scores.bad_row is not None or not math.isfinite(scores.loss):
        raise InputError(
            f"--data {source.name}: the model's output or loss for row {scores.bad_row} (from 0) is not finite: its "
            "numbers are too far from those that the model was trained on. Remove such rows or fill them in",
            shared=True,
        )
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
    check_same_model(path, model, world)
    with world.together():
        source = source_for(model, data, targets=False)
    check_same_data(source, world)
    with world.together():
        samples = samples_for(model, source, [np.arange(source.size)], world, labelled=False)
        (part,) = samples.parts(model.scaler, None, model.architecture.dtype)
        outputs, codes = _outputs(model, part, source.name)
    outputs, codes = world.gather_rows(outputs), world.gather_rows(codes)  # in the order of the rows
    with world.together():
        if world.rank == 0:
            _write(model, outputs, codes[:, 0], out)


def _outputs(model: Model, part: Part, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The outputs, shape (n, outputs), and the class codes, shape (n, 1), of a rank's samples."""
    network = Network(model.architecture, model.parameters, CHUNK)
    outputs = np.empty((len(part.x), model.targets.outputs), part.x.dtype)
    codes = np.empty((len(part.x), 1), np.intp)
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for size in part.sizes:
            for a in range(start, start + size, CHUNK):
                b = min(a + CHUNK, start + size)
                (z,) = network.forward(network.bind([part.x[a:b].T]))
                bad = np.flatnonzero(~np.isfinite(z).all(axis=0))
                if len(bad):
                    raise InputError(
                        f"--data {name}: the model's output for row {part.rows[a + bad[0]]} (from 0) is not finite: "
                        "its numbers are too far from those that the model was trained on. Remove such rows or fill "
                        "them in"
                    )
                codes[a:b, 0] = decide(z)
                outputs[a:b] = network.predict(part.x[a:b].T).T
            start += size
    return outputs, codes


def _changed_text(recipe: Recipe, what: str) -> str:
    return (
        f"--data {recipe.data} is not what the model was trained on, so its test part is not known: {what}. "
        f"To score all its rows, give --data {recipe.data}"
    )


@contextlib.contextmanager
def _changed(recipe: Recipe | None) -> Iterator[None]:
    """What is wrong with data that a model was trained on comes from a change since."""
    try:
        yield
    except InputError as error:
        if recipe is None or recipe.data_digest is None:
            raise
        raise InputError(_changed_text(recipe, str(error))) from None


def _check_out(out: Path) -> None:
    """Find out now what would go wrong when all is computed."""
    try:
        check_replaceable(out)
        if not out.parent.is_dir():
            raise NotADirectoryError(0, f"{out.parent} is not a directory")
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror}); choose another file") from None


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
