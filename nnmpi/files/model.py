"""``model.safetensors``: everything needed to use a trained network, and no code."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from nnmpi.arrays import Array, Floats
from nnmpi.data.labels import LARGEST_ARRAY
from nnmpi.data.scaler import Scaler
from nnmpi.data.sources.arrays import are_characters
from nnmpi.data.table import Encoding, Preparation
from nnmpi.data.targets import Targets
from nnmpi.errors import InputError
from nnmpi.files.atomic import whole_file
from nnmpi.files.tensors import pieces
from nnmpi.nn.activations import ACTIVATIONS
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.losses import LOSSES

FORMAT = 1


@dataclass(frozen=True)
class Recipe:
    """Where the training data came from and how it was split; enough to draw the same test part again.

    ``data_digest`` is a checksum that shows whether the data have changed; None in models of earlier versions.
    ``target`` names the columns of a table to predict, ``sample_weight`` the column with the weights. The test part may
    have a source of its own, ``test_data`` with the checksum ``test_digest``, and the validation part, too.
    """

    data: str
    test_fraction: float
    seed: int
    stratify: bool
    data_digest: str | None = None
    target: tuple[str, ...] = ()
    sample_weight: str | None = None
    validation_fraction: float = 0.0
    test_data: str | None = None
    test_digest: str | None = None
    validation_data: str | None = None
    first_index: int | None = None  # of the training data, if they are a libsvm file


@dataclass(frozen=True)
class Model:
    """A trained network with the scalers of its features and, for a regression, of its targets."""

    architecture: Architecture
    parameters: Array
    scaler: Preparation
    target_scaler: Scaler | None
    targets: Targets
    recipe: Recipe
    class_weights: Floats | None = None  # in the loss, by class code


def write_model(path: Path, model: Model, sync: bool) -> None:
    """Write `model` atomically to `path`; `sync` is that of `whole_file`."""
    with whole_file(path, sync) as file:
        file.writelines(contents_of(model))


def contents_of(model: Model) -> Iterator[bytes | memoryview]:
    """Return the bytes of a model file, in pieces. They depend only on the model, not on time, host or world size."""
    tensors: dict[str, Array] = {}
    for i, layer in enumerate(model.architecture.views(model.parameters)):
        tensors[f"layers.{i}.weight"] = layer[1:]
        tensors[f"layers.{i}.bias"] = layer[0]
    for name, scaler in (("scaler", model.scaler), ("target_scaler", model.target_scaler)):
        if scaler:
            tensors[f"{name}.mean"], tensors[f"{name}.scale"] = scaler.mean, scaler.scale
    if isinstance(model.scaler, Encoding):
        tensors["table.fill"] = model.scaler.fill
    return pieces(tensors, {"nnmpi": metadata_of(model)})  # one entry: safetensors does not keep the order of several


def metadata_of(model: Model) -> str:
    """Return everything except the tensors, as JSON."""
    description = {
        "format": FORMAT,
        "architecture": asdict(model.architecture),
        "targets": model.targets.kind,
        "classes": None if model.targets.classes is None else model.targets.classes.tolist(),
        "labels": list(model.targets.labels) or None,
        "class_weights": None if model.class_weights is None else model.class_weights.tolist(),
        "recipe": asdict(model.recipe),
        "table": model.scaler.to_json() if isinstance(model.scaler, Encoding) else None,
    }
    return json.dumps(description, sort_keys=True)


def read_model(path: Path) -> Model:
    """Read the model at `path`, a file or the directory of a run.

    Raises
    ------
    InputError
        If there is no model or it is damaged.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such file; MODEL is the directory of a run or its model.safetensors")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not a complete safetensors file ({error})") from None
    if "nnmpi" not in metadata:
        raise InputError(f"{path}: a safetensors file, but not written by nnmpi")
    try:
        return _assemble(json.loads(metadata["nnmpi"]), tensors)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: its metadata or tensors are invalid ({reason})") from None


def _assemble(description: dict[str, Any], tensors: dict[str, Array]) -> Model:
    if description["format"] != FORMAT:
        raise ValueError(f"format {description['format']}, this version of nnmpi reads {FORMAT}")
    fields = description["architecture"]
    architecture = Architecture(**{**fields, "sizes": tuple(fields["sizes"])})
    sizes = architecture.sizes
    if len(sizes) < 2 or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ValueError(f"invalid layer sizes {sizes}")
    if architecture.activation not in ACTIVATIONS or architecture.dtype not in ("float32", "float64"):
        raise ValueError(f"invalid {architecture}")
    LOSSES[architecture.loss][architecture.output_activation]  # a KeyError names the wrong value
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        _expect(tensors, f"layers.{i}.weight", (fan_in, fan_out), architecture.dtype)
        _expect(tensors, f"layers.{i}.bias", (fan_out,), architecture.dtype)
    parameters = np.empty(architecture.parameters, architecture.dtype)
    for i, layer in enumerate(architecture.views(parameters)):
        layer[1:], layer[0] = tensors[f"layers.{i}.weight"], tensors[f"layers.{i}.bias"]
    scalers = {}
    for name, features in (("scaler", sizes[0]), ("target_scaler", sizes[-1])):
        if name == "scaler" or description["targets"] == "numbers":
            mean = _expect(tensors, f"{name}.mean", (features,), "float64")
            scalers[name] = Scaler(mean, _expect(tensors, f"{name}.scale", (features,), "float64"))
    table = description.get("table")
    if len(tensors) != 2 * len(sizes) - 2 + 2 * len(scalers) + (table is not None):
        raise ValueError("it holds unknown tensors")
    for name, scaler in scalers.items():
        if not (scaler.scale > 0).all():
            raise ValueError(f"{name}.scale holds values that are not above 0")
    preparation: Preparation = scalers["scaler"]
    if table is not None:
        fill = _expect(tensors, "table.fill", (len(table["columns"]),), "float64")
        preparation = Encoding.from_json(table, fill, scalers["scaler"])
    kind, outputs = description["targets"], sizes[-1]
    counts = {"numbers": (0, outputs), "labels": (0, outputs), "binary": (2, 1), "one-hot": (outputs, outputs)}
    class_count, expected_outputs = counts[kind]
    classes = None if description["classes"] is None else _classes(description["classes"])
    if (classes is None) != (class_count == 0) or len(classes if classes is not None else ()) != class_count:
        raise ValueError(f"{kind} targets with {outputs} outputs and classes {classes}")
    if outputs != expected_outputs:
        raise ValueError(f"{kind} targets with {outputs} outputs")
    return Model(
        architecture,
        parameters,
        preparation,
        scalers.get("target_scaler"),
        Targets(kind, classes, outputs, _labels(description.get("labels"), kind, architecture)),
        _recipe(description["recipe"]),
        _class_weights(description.get("class_weights"), class_count),
    )


def _classes(labels: list[Any]) -> Array:
    """Return the class labels as an array; check that they have one type and are in ascending order."""
    if type(labels) is not list or {type(label) for label in labels} not in ({bool}, {int}, {str}):
        raise ValueError("classes must be all booleans, all whole numbers or all strings")
    # an array stores all strings with the length of the longest: one long string among thousands can take gigabytes
    if type(labels[0]) is str and 4 * len(labels) * max(map(len, labels)) > LARGEST_ARRAY:
        raise ValueError(f"classes are too large: {len(labels)}, the longest with {max(map(len, labels))} characters")
    whole = type(labels[0]) is int
    classes = np.array(labels, (np.uint64 if max(labels) > np.iinfo(np.int64).max else np.int64) if whole else None)
    if not np.array_equal(classes, np.unique(classes)):
        raise ValueError(f"classes are repeated or not in ascending order: {classes}")
    if classes.dtype.kind == "U" and not are_characters(classes):
        raise ValueError("classes contain invalid Unicode")
    return classes


def _labels(names: list[Any] | None, kind: str, architecture: Architecture) -> tuple[str, ...]:
    """Return the names of the labels of a multilabel model; () for other targets."""
    if kind != "labels":
        if names is not None:
            raise ValueError(f"{kind} targets with labels")
        return ()
    if type(names) is not list or not all(type(name) is str for name in names) or len(set(names)) < len(names):
        raise ValueError("labels must be different strings")
    if len(names) != architecture.sizes[-1] or len(names) < 2 or architecture.loss != "binary-cross-entropy":
        raise ValueError(f"{len(names)} labels with {architecture}")
    if 4 * len(names) * max(map(len, names)) > LARGEST_ARRAY:
        raise ValueError(f"labels are too long: the longest has {max(map(len, names))} characters")
    if not are_characters(np.array(names)):
        raise ValueError("labels contain invalid Unicode")
    return tuple(names)


def _class_weights(values: list[Any] | None, classes: int) -> Floats | None:
    if values is None:
        return None
    if len(values) != classes or not all(type(v) is float and 0 <= v < math.inf for v in values):
        raise ValueError(f"class weights {values} for {classes} classes")
    return np.array(values)


def _recipe(fields: dict[str, Any]) -> Recipe:
    recipe = Recipe(**{**fields, "target": tuple(fields.get("target", ()))})
    if not all(type(name) is str for name in recipe.target):
        raise ValueError(f"invalid {recipe}")
    if recipe.first_index not in (None, 0, 1):
        raise ValueError(f"invalid {recipe}")
    types = [type(value) for value in (recipe.data, recipe.test_fraction, recipe.seed, recipe.stratify)]
    for digest in (recipe.data_digest, recipe.test_digest):
        if digest is not None and not (type(digest) is str and re.fullmatch("[0-9a-f]{32}", digest)):
            raise ValueError(f"invalid {recipe}")
    texts = recipe.sample_weight, recipe.test_data, recipe.validation_data
    if not all(text is None or type(text) is str for text in texts):
        raise ValueError(f"invalid {recipe}")
    if type(recipe.validation_fraction) is not float or not 0 <= recipe.validation_fraction < 1:
        raise ValueError(f"invalid {recipe}")
    if types != [str, float, int, bool] or not 0 < recipe.test_fraction < 1 or not 0 <= recipe.seed < 2**32:
        raise ValueError(f"invalid {recipe}")
    return recipe


def _expect(tensors: dict[str, Array], name: str, shape: tuple[int, ...], dtype: str) -> Array:
    tensor = tensors[name]
    if tensor.shape != shape or tensor.dtype != dtype:
        raise ValueError(f"{name} has shape {tensor.shape} and type {tensor.dtype}, not {shape} and {dtype}")
    if not np.isfinite(tensor).all():
        raise ValueError(f"{name} holds NaN or infinite numbers")
    return tensor
