"""The predictions of a model for its test part; the scores are those of ``nnmpi evaluate``."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.parts import Part
from nnmpi.data.sources import Source
from nnmpi.errors import InputError
from nnmpi.files.model import Model, read_model
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network
from nnmpi.nn.predict import CHUNK
from nnmpi.training.evaluation import Scores, evaluate
from nnmpi.training.model_data import part_of
from nnmpi.training.scoring import all_scores, outputs_of


@dataclass(frozen=True)
class Predictions:
    """The test part of a model and the predictions for it, in the same order.

    Attributes
    ----------
    part : Part
        The samples as the network takes them, scaled.
    y : array, shape (n,) or (n, outputs)
        Class codes, a boolean for each label, or numbers in the units of the targets.
    predicted : array, shape (n,) or (n, outputs)
        The predictions, in the form of `y`.
    probabilities : array, shape (n, classes) or (n, labels), or None
        None for a regression and for outputs that are no probabilities.
    table : dict
        All scores, as ``nnmpi evaluate --json`` prints them.
    """

    model: Model
    source: Source
    part: Part
    y: Array
    predicted: Array
    probabilities: Array | None
    table: dict[str, Any]

    @property
    def task(self) -> str:
        """The task of the model, as in `Targets.task`."""
        return self.model.targets.task

    @property
    def classes(self) -> list[str] | None:
        """The labels of the classes as text; None where there are no classes."""
        return None if self.model.targets.classes is None else [str(label) for label in self.model.targets.classes]

    @property
    def weights(self) -> Array:
        """The weight of each sample, shape (n,); 1 where the samples have no weights."""
        return np.ones(len(self.y)) if self.part.weights is None else self.part.weights

    def samples_of_classes(self) -> list[int]:
        """Return the number of samples of each class, or that have each label, whatever their weights."""
        if self.y.ndim > 1:
            return [int(count) for count in self.y.sum(axis=0)]
        return [int(count) for count in np.bincount(self.y, minlength=len(self.classes or ()))]

    def loss(self, part: Part, world: World) -> float:
        """Return the mean loss of the model on the samples of `part`."""
        return _evaluate(self.model, part, world).loss


def predict_test_part(directory: Path, world: World) -> Predictions:
    """Run the model in `directory` on its test part. `world` has one rank.

    Raises
    ------
    InputError
        If the model or its data cannot be read or do not match, or a loss is not finite.
    """
    model = read_model(directory)
    targets = model.targets
    source, part = part_of(model, "test", None, world)
    y = part.y if part.numbers is None else part.numbers
    network = Network(model.architecture, model.parameters, CHUNK)
    scores = _evaluate(model, part, world)
    if not math.isfinite(scores.loss):
        raise InputError(f"the loss of row {scores.bad_row} (rows count from 0) is not finite")
    table = all_scores(scores, network, part, targets, world, model.target_scaler)
    raw, codes = outputs_of(network, part, targets)
    outputs = raw.astype(np.float64)
    probabilities = None
    if targets.task == "regression":
        assert model.target_scaler
        predicted: Array = outputs * model.target_scaler.scale + model.target_scaler.mean
    else:
        predicted = codes
        if model.architecture.output_activation != "identity":
            probabilities = outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
    return Predictions(model, source, part, y, predicted, probabilities, table)


def _evaluate(model: Model, part: Part, world: World) -> Scores:
    network = Network(model.architecture, model.parameters, CHUNK)
    with np.errstate(over="ignore", invalid="ignore"):  # as in training: a loss may be infinite
        return evaluate(network, part, model.targets, world, model.target_scaler, model.class_weights)
