"""Exact evaluation of a network on a part of the data, on any number of ranks."""

from dataclasses import dataclass

import numpy as np

from nnmpi.data.parts import Part
from nnmpi.data.targets import Encoder, Targets
from nnmpi.mpi.world import World
from nnmpi.nn.network import Network, decide

CHUNK = 256  # samples that go forward at once; the same on every rank, for the same bits


@dataclass(frozen=True)
class Scores:
    """The mean loss over ``samples`` samples, and the accuracy of a classifier or the R² of a regression."""

    loss: float
    accuracy: float | None
    r2: float | None
    samples: int

    @property
    def metric(self) -> tuple[str, float]:
        """``("accuracy", …)`` or ``("r2", …)``."""
        return ("r2", self.r2) if self.accuracy is None else ("accuracy", self.accuracy)  # type: ignore[return-value]

    def named(self, part: str) -> dict[str, float]:
        """``{"test_loss": …, "test_accuracy": …}``."""
        name, value = self.metric
        return {f"{part}_loss": self.loss, f"{part}_{name}": value}

    def line(self, part: str) -> str:
        """``test accuracy 0.9722, test loss 0.1034``."""
        name, value = self.metric
        return f"{part} {name} {value:.4f}, {part} loss {self.loss:.4f}"


def evaluate(network: Network, part: Part, targets: Targets, world: World) -> Scores:
    """Score all samples of a part, each counted once.

    Every shard is run by itself in chunks of a fixed size and its sums, in float64, are added up in the order of the
    shards: equal parameters have equal scores, to the last bit, on any number of ranks. R² is the mean over the
    outputs of ``1 - Σ(y-ŷ)² / Σ(y-ȳ)²``, as scikit-learn's ``r2_score``. All ranks take part.
    """
    k = targets.outputs
    encoder = Encoder(targets, CHUNK, part.x.dtype)
    sums = np.zeros((len(part.sizes), 3 + 3 * k))  # count, loss, correct, then Σ(y-ŷ)², Σy, Σy² of each output
    start = 0
    for row, size in zip(sums, part.sizes, strict=True):
        for a in range(start, start + size, CHUNK):
            b = min(a + CHUNK, start + size)
            codes, t = part.y[a:b], encoder.view(0, b - a)
            encoder.encode(codes, encoder.plan([(0, b - a)]))
            batch = network.bind([part.x[a:b].T], [t])
            (z,) = network.forward(batch)
            row[0] += b - a
            if targets.classes is None:
                error, y = z - t, t.astype(np.float64)
                row[3:] += np.concatenate([np.square(error, dtype=np.float64).sum(1), y.sum(1), np.square(y).sum(1)])
            else:
                row[2] += np.count_nonzero(decide(z) == codes)
            with np.errstate(over="ignore", invalid="ignore"):  # see cross_entropy
                row[1] += network.loss(batch)[0]
        start += size
    count, loss, correct, *rest = np.add.reduce(world.gather_rows(sums), axis=0).tolist()
    accuracy = r2 = None
    if targets.classes is None:
        squared, y_sum, y_squared = np.array(rest).reshape(3, k)
        spread = y_squared - y_sum**2 / count
        constant = spread <= 0  # R² of a constant target is 0 by scikit-learn's convention, 1 if it is met exactly
        outputs = np.where(constant, squared == 0, 1 - squared / np.where(constant, 1, spread))
        r2 = float(np.mean(outputs))
    else:
        accuracy = correct / count
    return Scores(loss / count, accuracy, r2, int(count))
