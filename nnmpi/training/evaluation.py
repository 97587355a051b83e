"""Exact evaluation of a network on a part of the data, on any number of ranks."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.parts import Part
from nnmpi.data.scaler import Scaler, moments
from nnmpi.data.targets import Encoder, Targets
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network
from nnmpi.training.metrics.predictions import Samples
from nnmpi.training.metrics.regression import r2_of

Array = npt.NDArray[Any]

CHUNK = 256  # samples that go forward at once; the same on every rank, for the same bits


@dataclass(frozen=True)
class Scores:
    """The mean loss over ``samples`` samples, and the accuracy of a classifier or the R² of a regression.

    The accuracy of labels is the share of the samples of which all labels are right. R² of one sample is undefined, and
    None. ``bad_row`` is the row of the source whose output or loss is not finite, if there is one; the scores are not
    to be used then.
    """

    loss: float
    accuracy: float | None
    r2: float | None
    samples: int
    bad_row: int | None = None

    @property
    def metric(self) -> tuple[str, float | None]:
        """``("accuracy", …)`` or ``("r2", …)``."""
        return ("r2", self.r2) if self.accuracy is None else ("accuracy", self.accuracy)

    def named(self, part: str) -> dict[str, float | None]:
        """``{"test_loss": …, "test_accuracy": …}``."""
        name, value = self.metric
        return {f"{part}_loss": self.loss, f"{part}_{name}": value}

    def line(self, part: str) -> str:
        """``test accuracy 0.9722, test loss 0.1034``."""
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
    class_weights: npt.NDArray[np.float64] | None = None,
) -> Scores:
    """Score all samples of a part, each counted once, or as often as its weight says.

    A sample's loss counts its weight times that of its class, as in training; accuracy and R² know the weights of
    samples only.

    Every shard is run by itself in chunks of a fixed size and its sums, in float64, are added up in the order of the
    shards: equal parameters have equal scores, to the last bit, on any number of ranks. R² is the mean over the
    outputs of ``1 - Σ(y-ŷ)² / Σ(y-ȳ)²``, as scikit-learn's ``r2_score``; it is of the numbers as they are in the
    source, with `target_scaler` that of the predictions. All ranks take part.
    """
    encoder = Encoder(targets, CHUNK, part.x.dtype)
    weights = part.loss_weights(class_weights)
    # samples, their weight, their weight in the loss, loss, correct, then Σ((y-ŷ)/scale)² of each output
    sums = np.zeros((len(part.sizes), 5 + targets.outputs))
    bad_rows: list[list[int]] = []
    start = 0
    for row, size in zip(sums, part.sizes, strict=True):
        for a in range(start, start + size, CHUNK):
            b = min(a + CHUNK, start + size)
            codes, t = part.y[a:b], encoder.view(0, b - a)
            encoder.encode(codes, encoder.plan([(0, b - a)]))
            of_loss = None if weights is None else weights[a:b].astype(part.x.dtype)
            of_samples = None if part.weights is None else part.weights[a:b]
            batch = network.bind([part.x[a:b].T], [t], weights=None if of_loss is None else [of_loss])
            (z,) = network.forward(batch)
            finite = bool(np.isfinite(z).all())
            row[0] += b - a
            row[1] += b - a if of_samples is None else of_samples.sum()
            row[2] += b - a if of_loss is None else of_loss.sum(dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):  # see cross_entropy
                if targets.task == "regression":
                    squared = np.square(_errors(z, part, a, target_scaler))
                    row[5:] += (squared if of_samples is None else squared * of_samples[:, None]).sum(axis=0)
                else:
                    correct = targets.decided(z) == codes
                    if correct.ndim > 1:
                        correct = correct.all(axis=1)
                    row[4] += np.count_nonzero(correct) if of_samples is None else of_samples[correct].sum()
                loss = network.loss(batch)[0]
                row[3] += loss
            if not bad_rows and not (finite and math.isfinite(loss)):
                (z,) = network.forward(batch)  # the loss has used it up
                bad_rows.append([int(part.rows[a + _worst(z)])])
        start += size
    count, weight, loss_weight, loss, correct_weight, *rest = np.add.reduce(world.gather_rows(sums), axis=0).tolist()
    bad = world.gather_rows(np.array(bad_rows, np.int64).reshape(-1, 1))
    bad_row = int(bad.min()) if len(bad) else None
    mean_loss = loss / loss_weight if loss_weight else 0.0
    if targets.task != "regression":
        return Scores(mean_loss, correct_weight / weight if weight else 0.0, None, int(count), bad_row)
    return Scores(mean_loss, None, _r2(np.array(rest), part, world, target_scaler), int(count), bad_row)


def _errors(z: Array, part: Part, start: int, scaler: Scaler | None) -> Array:
    """``(ŷ - y) / scale`` of the samples from `start` on, in float64, shape (b, outputs)."""
    assert part.numbers is not None
    predicted = z.T.astype(np.float64)
    y = part.numbers[start : start + len(predicted)]
    if scaler is None:
        return np.asarray(predicted - y)
    return np.asarray((predicted * scaler.scale + scaler.mean - y) / scaler.scale)


def _r2(squared: Array, part: Part, world: World, scaler: Scaler | None) -> float | None:
    """R² from the sums of squared errors, in units of the scale. All ranks take part."""
    numbers = part.numbers
    assert numbers is not None
    if part.weights is not None:
        weighted = r2_of(
            squared * (scaler.scale**2 if scaler else 1.0), Samples(world, part.sizes, part.weights), numbers
        )
        return weighted if math.isfinite(weighted) else None
    y = moments(lambda: (numbers[shard] for shard in part.shards()), world.gather_rows)
    if y.count < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        spread = y.count * np.square(y.deviation / (scaler.scale if scaler else 1.0))
        # R² of a constant target is 0 by scikit-learn's convention, 1 if it is met exactly
        r2 = float(np.mean(np.where(y.constant, squared == 0, 1 - squared / spread)))
    return r2 if math.isfinite(r2) else None


def _worst(z: Array) -> int:
    """The sample whose logits, shape (outputs, b), are not finite, or else the largest."""
    with np.errstate(invalid="ignore"):
        return int(np.argmax(np.abs(np.nan_to_num(z, nan=np.inf)).max(axis=0)))
