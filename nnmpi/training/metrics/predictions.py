"""The predictions for the samples of a part, and sums over all samples that do not depend on the world size."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nnmpi.arrays import Array, Booleans, Floats, Indices
from nnmpi.data.shards import slices_of
from nnmpi.training.metrics.counts import Confusion, add_pairs

if TYPE_CHECKING:
    from nnmpi.mpi.world import World

EPSILON = float(np.finfo(np.float64).eps)


def true_probability(p: Array, true: Booleans) -> Floats:
    """Return the probability that `p` gives to the truth, in float64; `p` is the probability of yes.

    The dtype of `p` can represent numbers close to 0, but not equally close to 1. So a `p` that is rounded to 1 counts
    as 1 less the epsilon of its dtype.
    """
    largest = 1 - float(np.finfo(p.dtype).eps)
    precise = np.minimum(p.astype(np.float64), largest)
    return np.where(true, precise, 1 - precise)


def class_losses(outputs: Array, true: Indices) -> Floats:
    """Return ``-log`` of the probability of the true class of each sample, shape (n,).

    `outputs` come from a softmax, shape (n, classes), or from a sigmoid, shape (n, 1). A probability counts as at least
    the epsilon of float64.
    """
    if outputs.shape[1] == 1:
        return _losses(true_probability(outputs[:, 0], true == 1))
    return _losses(outputs[np.arange(len(true)), true].astype(np.float64))


def label_losses(probabilities: Array, true: Booleans) -> Floats:
    """Return the sum over the labels of ``-log`` of the probability of the truth, of each sample, shape (n,)."""
    return np.asarray(_losses(true_probability(probabilities, true)).sum(axis=1))


def _losses(probability: Floats) -> Floats:
    return np.asarray(-np.log(np.clip(probability, EPSILON, 1 - EPSILON)))


class PartSamples:
    """The samples of a part that a rank holds, shard after shard. All ranks construct one together.

    Parameters
    ----------
    sizes : list of int
        The number of samples in each shard that the rank holds.
    weights : array, shape (n,), or None
        The weight of each sample; None stands for 1 each.

    Attributes
    ----------
    count : int
        The number of samples on all ranks.
    total_weight : float
        The sum of the weights; without weights the number of samples.
    """

    def __init__(self, world: "World", sizes: list[int], weights: Floats | None = None) -> None:
        self.world, self.weights = world, weights
        self.shards = slices_of(sizes)
        self.count = world.sum_exactly(sum(sizes))
        ones = np.ones((sum(sizes), 1))
        self.total_weight = self.count if weights is None else float(self.total(ones)[0])

    def total(self, values: Array) -> Floats:
        """Return the weighted sum of `values`, shape (n, m), over all ranks: in float64, shard by shard."""
        sums = np.zeros((len(self.shards), values.shape[1]))
        for row, shard in zip(sums, self.shards, strict=True):
            part = values[shard].astype(np.float64)
            if self.weights is not None:
                part *= self.weights[shard, None]
            part.sum(axis=0, out=row)
        return np.asarray(np.add.reduce(self.world.gather_rows(sums), axis=0))

    def mean(self, values: Array) -> Floats:
        """Return the weighted mean of `values`, shape (n, m), over all ranks; NaN if all weights are 0."""
        return self.total(values) / (self.total_weight or np.nan)

    def gather(self, column: Array) -> Array:
        """Return a column, shape (n,), of all ranks, in the order of the shards."""
        return self.world.gather_rows(column[:, None])[:, 0]

    def gather_weights(self) -> Floats | None:
        """Return the weights of all ranks, or None."""
        return None if self.weights is None else self.gather(self.weights)


class ClassPredictions:
    """The true and the predicted classes of samples. All ranks construct one together.

    Parameters
    ----------
    true, predicted : array, shape (n,)
        Class codes from 0 to ``classes - 1``.
    outputs : array, shape (n, classes), or (n, 1) for two classes
        The network's output for each class, or for the second of two classes.
    are_probabilities : bool
        Whether the outputs are probabilities of the classes that add up to 1.

    Attributes
    ----------
    counts : Confusion
        The pairs of true and predicted class on all ranks.
    """

    task = "classification"

    def __init__(
        self,
        samples: PartSamples,
        true: Indices,
        predicted: Indices,
        outputs: Array,
        classes: int,
        are_probabilities: bool = True,
    ) -> None:
        self.samples, self.true, self.predicted = samples, true, predicted
        self.outputs, self.classes, self.are_probabilities = outputs, classes, are_probabilities
        pairs, weights = true * classes + predicted, samples.weights
        sums = [add_pairs(pairs[s], None if weights is None else weights[s]) for s in samples.shards]
        gathered = samples.world.gather_rows(np.concatenate(sums))
        all_pairs, weight = add_pairs(gathered[:, 0].astype(np.intp), gathered[:, 1]).T
        from_class, to_class = np.divmod(all_pairs.astype(np.intp), classes)
        self.counts = Confusion(classes, from_class, to_class, weight)

    def score(self, code: int) -> Array:
        """Return the score of a class for each sample, shape (n,); a larger score means a more likely class."""
        if self.outputs.shape[1] > 1:
            return self.outputs[:, code]
        return self.outputs[:, 0] if code else 1 - self.outputs[:, 0]


@dataclass(frozen=True)
class NumberPredictions:
    """The true and the predicted numbers in the units of the source, both of shape (n, outputs).

    ``unit`` is of the size of the numbers of each output: multiples of it can be squared and added up in float64.
    """

    task: ClassVar[str] = "regression"

    samples: PartSamples
    true: Floats
    predicted: Floats
    unit: Floats | float = 1.0

    @property
    def errors(self) -> Floats:
        """The absolute errors in multiples of ``unit``, shape (n, outputs)."""
        return np.abs(self.predicted - self.true) / self.unit
