"""The commands ``evaluate`` and ``predict``: use a trained model, on any number of ranks."""

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import TextIO

import numpy as np

from nnmpi.arrays import Array, Indices
from nnmpi.data.parts import Part
from nnmpi.data.sources import Source
from nnmpi.environment import set_threads
from nnmpi.errors import InputError
from nnmpi.files.atomic import whole_file
from nnmpi.files.model import Model, read_model
from nnmpi.files.output_file import cannot_be_written, check_out, check_replaces_no_input
from nnmpi.mpi.checks import blas_threads, check_launcher
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network
from nnmpi.nn.predict import CHUNK, in_float64
from nnmpi.text import printable
from nnmpi.training.agreement import check_same_data, check_same_model
from nnmpi.training.evaluation import evaluate
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.model_data import part_of, samples_for, source_for
from nnmpi.training.scoring import all_scores, outputs_of


def evaluate_model(path: Path, data: str | None, as_json: bool, world: World) -> None:
    """Print the scores of the model at `path` on all of `data`, or on the test part of what it was trained on.

    Raises
    ------
    InputError
        On all ranks, if the model cannot be read, or the data do not fit it.
    """
    model = _open_model(path, world)
    if data:
        source, part = _all_samples(model, data, world, labelled=True)
    else:
        source, part = part_of(model, "test", None, world)
    network = Network(model.architecture, model.parameters, CHUNK)
    targets, scaler = model.targets, model.target_scaler
    with np.errstate(over="ignore", invalid="ignore"):
        scores = evaluate(network, part, targets, world, scaler, model.class_weights)
    if scores.bad_row is not None or not math.isfinite(scores.loss):
        where = "" if scores.bad_row is None else f" for row {scores.bad_row} (counted from 0)"
        raise InputError(
            f"--data {source.name}: the model's output or loss{where} is not finite: its values are too far from those "
            "in training. Remove or correct such rows",
            shared=True,
        )
    table = all_scores(scores, network, part, targets, world, scaler)
    if world.rank == 0 and as_json:
        print(json.dumps({"data": source.name, "part": None if data else "test", **table}), flush=True)
    elif world.rank == 0:
        from nnmpi.commands.score_table import print_scores  # rich takes 40 ms: rank 0 alone

        seed = model.recipe.seed
        test_part = "the test part" if model.recipe.test_data else f"the test part, drawn with seed {seed},"
        scored = "all samples" if data else test_part
        print_scores(table, f"{scores.samples} samples: {scored} of {source.name}")
        print(scores.line("test"), flush=True)


def predict(path: Path, data: str | None, part_name: str | None, out: Path | None, world: World) -> None:
    """Predict every sample of `data`, or of one of its parts; rank 0 writes the predictions to `out` or prints them.

    Raises
    ------
    InputError
        On all ranks, if the model or the data cannot be read, or `out` cannot be written.
    """
    with world.together():
        if out and world.rank == 0:
            check_out(out, f"--out {out}")
    model = _open_model(path, world)
    with world.together():
        if out and world.rank == 0:
            recipe = model.recipe
            of_parts = (data or recipe.data, recipe.test_data, recipe.validation_data)
            inputs = of_parts if part_name else (data,)
            check_replaces_no_input(out, inputs, f"--out {out}")
    if part_name:
        source, part = part_of(model, part_name, data, world)
    else:
        assert data is not None  # the command line has DATA or --part
        source, part = _all_samples(model, data, world, labelled=False)
    with world.together():
        outputs, codes = _outputs(model, part, source.name)
    columns = codes if codes.ndim > 1 else codes[:, None]
    outputs, codes = world.gather_rows(outputs), world.gather_rows(columns)  # keeps the order of the rows
    rows = world.gather_rows(part.rows[:, None])[:, 0] if part_name else None
    with world.together():
        if world.rank == 0:
            _write(model, outputs, codes if model.targets.task == "multilabel" else codes[:, 0], rows, out)


def _open_model(path: Path, world: World) -> Model:
    check_launcher(world, training=False)
    set_threads(blas_threads(world))
    with world.together():
        model = read_model(path)
    check_same_model(path, model, world)
    return model


def _all_samples(model: Model, data: str, world: World, labelled: bool) -> tuple[Source, Part]:
    """Return the source `data` and all its samples as one part, with their targets if `labelled`."""
    with world.together():
        source = source_for(model, data, targets=labelled)
    check_same_data(source, world)
    if labelled:
        source = gather_targets(source, world)
    samples = samples_for(model, source, [np.arange(source.size)], world, labelled)
    with world.together():
        target_scaler = model.target_scaler if labelled else None
        return source, samples.parts(model.scaler, target_scaler, model.architecture.dtype)[0]


def _outputs(model: Model, part: Part, name: str) -> tuple[Array, Array]:
    """Return the outputs, shape (n, outputs), and the predicted codes (`Targets.decided`) of this rank's samples.

    The outputs of a regression are in the units of the targets.
    """
    outputs, codes = outputs_of(in_float64(model.architecture, model.parameters), part, model.targets)
    if model.target_scaler:
        with np.errstate(over="ignore"):
            outputs = outputs * model.target_scaler.scale + model.target_scaler.mean
    bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(bad):
        raise InputError(
            f"--data {name}: the model's output for row {part.rows[bad[0]]} (counted from 0) is not finite: the "
            "values of this row are too far from those in training. Remove or correct such rows"
        )
    return outputs, codes


def _write(
    model: Model,
    outputs: Array,
    codes: Array,
    rows: Indices | None,
    out: Path | None,
) -> None:
    """Write the predictions to `out`, or print them; `rows` are their row numbers in the data, None if all."""
    classes = model.targets.classes
    if model.targets.task == "regression":
        table: dict[str, Array] = {"prediction": outputs if outputs.shape[1] > 1 else outputs[:, 0]}
        if len(model.recipe.target) == outputs.shape[1] > 1:
            table["targets"] = np.array(model.recipe.target)
    elif model.targets.task == "multilabel":
        table = {"prediction": codes.astype(np.uint8), "probability": outputs, "labels": np.array(model.targets.labels)}
    else:
        assert classes is not None
        table = {"prediction": classes[codes]}
        if model.architecture.output_activation != "identity":
            table["probability"] = outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
            table["classes"] = classes
    if rows is not None:
        table["row"] = rows
    if out is None:
        predictions = table["prediction"]
        if predictions.dtype.kind == "U":
            predictions = np.array([printable(label) for label in classes.tolist()])[codes]  # type: ignore[union-attr]
        np.savetxt(sys.stdout, predictions, fmt="%s")
        return
    try:
        with whole_file(out, sync=False) as file:
            if out.suffix == ".npz":
                np.savez(file, **table)  # type: ignore[arg-type]  # no key is a parameter of savez
            else:
                with io.TextIOWrapper(file, "utf-8", newline="") as text:
                    _write_csv(table, text)
    except OSError as error:
        raise cannot_be_written(f"--out {out}", error) from None
    print(f"{len(outputs)} predictions written to {printable(str(out))}")


def _write_csv(table: dict[str, Array], file: TextIO) -> None:
    """Write one line per sample: its row number if known, the predictions, the probability of each class or label."""
    prediction = table["prediction"] if table["prediction"].ndim > 1 else table["prediction"][:, None]
    names = table.get("labels", table.get("targets", range(prediction.shape[1])))
    header = ["prediction"] if prediction.shape[1] == 1 else [f"prediction_{name}" for name in names]
    columns = [prediction]
    if "row" in table:
        header.insert(0, "row")
        columns.insert(0, table["row"][:, None])
    if "probability" in table:
        header += [f"probability_{label}" for label in table.get("classes", names)]
        columns.append(table["probability"])
    writer = csv.writer(file)
    writer.writerow(header)
    writer.writerows([value for part in row for value in part.tolist()] for row in zip(*columns, strict=True))
