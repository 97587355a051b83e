"""Exact evaluation of a network on a part of the data, on any number of ranks."""

import math
from dataclasses import dataclass

import numpy as np

from nnmpi.arrays import Array, Floats
from nnmpi.data.parts import Part
from nnmpi.data.scaler import Scaler, moments
from nnmpi.data.targets import Encoder, Targets
from nnmpi.errors import InputError
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network
from nnmpi.nn.predict import CHUNK
from nnmpi.training.metrics.predictions import PartSamples
from nnmpi.training.metrics.regression import r2_of


@dataclass(frozen=True)
class Scores:
    """The mean loss over ``samples`` samples, and the accuracy of a classifier or the R² of a regression.

    With multilabel targets a sample counts as correct if all its labels are correct. R² is None where it is undefined,
    as for one sample. ``bad_row`` is a row of the source whose output or loss is not finite, or None; with a
    ``bad_row`` the scores are invalid.
    """

    loss: float
    accuracy: float | None
    r2: float | None
    samples: int
    bad_row: int | None = None

    @property
    def metric(self) -> tuple[str, float | None]:
        """The name and the value of the metric: ``("accuracy", …)`` or ``("r2", …)``."""
        return ("r2", self.r2) if self.accuracy is None else ("accuracy", self.accuracy)

    def named(self, part: str) -> dict[str, float | None]:
        """Return the scores by name: ``{"test_loss": …, "test_accuracy": …}``."""
        name, value = self.metric
        return {f"{part}_loss": self.loss, f"{part}_{name}": value}

    def line(self, part: str) -> str:
        """Return the scores as text: ``test accuracy 0.9722, test loss 0.1034``."""
        name, value = self.metric
        if value is None:
            return f"{part} r2 undefined, {part} loss {self.loss:.4f} (R² is undefined for one sample)"
        return f"{part} {name} {value:.4f}, {part} loss {self.loss:.4f}"


def evaluate(
    network: Network,
    part: Part,
    targets: Targets,
    world: World,
    target_scaler: Scaler | None = None,
    class_weights: Floats | None = None,
) -> Scores:
    """Score all samples of a part, each counted once or with its weight. All ranks take part.

    In the loss the weight of a sample is multiplied by that of its class, as in training. Accuracy and R² use the
    weights of the samples only.

    Each rank evaluates its shards one by one, in chunks of a fixed size. The sums of the shards, in float64, are added
    up in the order of the shards. So equal parameters have the same scores, bit for bit, on any number of ranks.

    R² is the mean over the outputs of ``1 - Σ(y-ŷ)² / Σ(y-ȳ)²``, as in scikit-learn's ``r2_score``. It is computed in
    the units of the source; `target_scaler` converts the predictions to them.

    Raises
    ------
    InputError
        On all ranks, if all weights in the loss are 0.
    """
    encoder = Encoder(targets, CHUNK, part.x.dtype)
    weights = part.loss_weights(class_weights)
    # columns: samples, their weight, their weight in the loss, loss, weight of the correct samples,
    # then Σ((y-ŷ)/scale)² of each output
    sums = np.zeros((len(part.sizes), 5 + targets.outputs))
    bad_rows: list[list[int]] = []
    start = 0
    for row, size in zip(sums, part.sizes, strict=True):
        for a in range(start, start + size, CHUNK):
            b = min(a + CHUNK, start + size)
            codes, t = part.y[a:b], encoder.view(0, b - a)
            encoder.encode(codes, encoder.plan([(0, b - a)]))
            loss_weights = None if weights is None else weights[a:b].astype(part.x.dtype)
            sample_weights = None if part.weights is None else part.weights[a:b]
            batch = network.bind([part.x[a:b].T], [t], weights=None if loss_weights is None else [loss_weights])
            (z,) = network.forward(batch)
            finite = bool(np.isfinite(z).all())
            row[0] += b - a
            row[1] += b - a if sample_weights is None else sample_weights.sum()
            row[2] += b - a if loss_weights is None else loss_weights.sum(dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):  # see `cross_entropy` on overflow
                if targets.task == "regression":
                    squared = np.square(_errors(z, part, a, target_scaler))
                    row[5:] += (squared if sample_weights is None else squared * sample_weights[:, None]).sum(axis=0)
                else:
                    correct = targets.decided(z) == codes
                    if correct.ndim > 1:
                        correct = correct.all(axis=1)
                    row[4] += np.count_nonzero(correct) if sample_weights is None else sample_weights[correct].sum()
                loss = network.loss(batch)[0]
                row[3] += loss
            if not bad_rows and not (finite and math.isfinite(loss)):
                (z,) = network.forward(batch)  # `loss` has overwritten it
                bad_rows.append([int(part.rows[a + _worst(z)])])
        start += size
    count, weight, loss_weight, loss, correct_weight, *rest = np.add.reduce(world.gather_rows(sums), axis=0).tolist()
    all_bad_rows = world.gather_rows(np.array(bad_rows, np.int64).reshape(-1, 1))
    bad_row = int(all_bad_rows.min()) if len(all_bad_rows) else None
    if count and not loss_weight:  # possible in other data only: `prepare` checks the parts of a training
        raise InputError(
            "all samples have weight 0 in the loss: their own weights, or those of their classes in the training "
            "(--class-weight), are 0; give data with other samples",
            shared=True,
        )
    mean_loss = loss / loss_weight if loss_weight else 0.0
    if targets.task != "regression":
        return Scores(mean_loss, correct_weight / weight if weight else 0.0, None, int(count), bad_row)
    return Scores(mean_loss, None, _r2(np.array(rest), part, world, target_scaler), int(count), bad_row)


def _errors(z: Array, part: Part, start: int, scaler: Scaler | None) -> Array:
    """Return ``(ŷ - y) / scale`` of the samples from `start` on, in float64, shape (b, outputs)."""
    assert part.numbers is not None
    predicted = z.T.astype(np.float64)
    y = part.numbers[start : start + len(predicted)]
    if scaler is None:
        return np.asarray(predicted - y)
    return np.asarray((predicted * scaler.scale + scaler.mean - y) / scaler.scale)


def _r2(squared: Array, part: Part, world: World, scaler: Scaler | None) -> float | None:
    """Return R² from the sums of the squared errors ``((ŷ - y) / scale)²``; None if undefined. All ranks take part."""
    numbers = part.numbers
    assert numbers is not None
    if part.weights is not None:
        samples = PartSamples(world, part.sizes, part.weights)
        weighted = r2_of(squared, samples, numbers, scaler.scale if scaler else 1.0)
        return weighted if math.isfinite(weighted) else None
    y = moments(lambda: (numbers[shard] for shard in part.shards()), world.gather_rows)
    if y.count < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        spread = y.count * np.square(y.deviation / (scaler.scale if scaler else 1.0))
        # scikit-learn's convention for a constant target: 1 if all predictions are exact, else 0
        r2 = float(np.mean(np.where(y.constant, squared == 0, 1 - squared / spread)))
    return r2 if math.isfinite(r2) else None


def _worst(z: Array) -> int:
    """Return the sample whose logits are not finite, or else the largest; `z` has shape (outputs, b)."""
    with np.errstate(invalid="ignore"):
        return int(np.argmax(np.abs(np.nan_to_num(z, nan=np.inf)).max(axis=0)))
