"""What a network predicts for the samples of a part, and sums over all of them that no world size changes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from nnmpi.training.metrics.counts import Confusion, add_pairs

if TYPE_CHECKING:
    from nnmpi.mpi.world import World

Floats = npt.NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)


def true_probability(p: npt.NDArray[np.floating], true: npt.NDArray[np.bool_]) -> Floats:
    """Of ``p``, the probability of yes, what it gives to what is `true`, in float64.

    Their type holds the smallest numbers, but none so near to 1: what it rounds to 1 counts as 1 less its epsilon.
    """
    most = 1 - float(np.finfo(p.dtype).eps)
    precise = np.minimum(p.astype(np.float64), most)
    return np.where(true, precise, 1 - precise)


def class_losses(outputs: npt.NDArray[np.floating], true: npt.NDArray[np.intp]) -> Floats:
    """``-log`` of the probability of the true class of each sample, shape (n,).

    `outputs`, shape (n, classes) or (n, 1), are those of a softmax or of a sigmoid. A probability counts as at least
    float64's epsilon.
    """
    if outputs.shape[1] == 1:
        return _losses(true_probability(outputs[:, 0], true == 1))
    return _losses(outputs[np.arange(len(true)), true].astype(np.float64))


def label_losses(probabilities: npt.NDArray[np.floating], true: npt.NDArray[np.bool_]) -> Floats:
    """The sum over the labels of ``-log`` of the probability of what is true, of each sample, shape (n,)."""
    return np.asarray(_losses(true_probability(probabilities, true)).sum(axis=1))


def _losses(probability: Floats) -> Floats:
    return np.asarray(-np.log(np.clip(probability, EPSILON, 1 - EPSILON)))


class Samples:
    """Samples of a part that a rank holds, one shard after the other; all ranks make theirs together.

    Parameters
    ----------
    sizes : list of int
        How many of the samples belong to each shard held.
    weights : array, shape (n,), or None
        None is the weight 1 of each sample.

    Attributes
    ----------
    count : int
        How many samples all ranks hold.
    total_weight : float
        The sum of the weights; without weights the number of samples.
    """

    def __init__(self, world: "World", sizes: list[int], weights: Floats | None = None) -> None:
        self.world, self.weights = world, weights
        ends = np.cumsum(sizes).tolist()
        self.shards = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.count = world.sum_exactly(sum(sizes))
        ones = np.ones((sum(sizes), 1))
        self.total_weight = self.count if weights is None else float(self.total(ones)[0])

    def total(self, values: npt.NDArray[Any]) -> Floats:
        """The weighted sum of `values`, shape (n, m), over the samples of all ranks; in float64, shard by shard."""
        sums = np.zeros((len(self.shards), values.shape[1]))
        for row, shard in zip(sums, self.shards, strict=True):
            part = values[shard].astype(np.float64)
            if self.weights is not None:
                part *= self.weights[shard, None]
            part.sum(axis=0, out=row)
        return np.asarray(np.add.reduce(self.world.gather_rows(sums), axis=0))

    def mean(self, values: npt.NDArray[Any]) -> Floats:
        """The weighted mean of `values`, shape (n, m), over the samples of all ranks; NaN if no sample has weight."""
        return self.total(values) / (self.total_weight or np.nan)

    def gather(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A column, shape (n,), of all ranks, in the order of the shards; on every rank."""
        return self.world.gather_rows(column[:, None])[:, 0]

    def gather_weights(self) -> Floats | None:
        """The weights of all ranks."""
        return None if self.weights is None else self.gather(self.weights)


class ClassPredictions:
    """The classes of samples, true and predicted; all ranks make theirs together.

    Parameters
    ----------
    true, predicted : array, shape (n,)
        Class codes from 0 to ``classes - 1``.
    outputs : array, shape (n, classes), or (n, 1) for two classes
        What a network says of each class, of two classes of the second one.
    are_probabilities : bool
        Whether the outputs of a sample are probabilities that add up to 1.

    Attributes
    ----------
    confusion : Confusion
        Which classes the samples of all ranks are predicted as.
    """

    task = "classification"

    def __init__(
        self,
        samples: Samples,
        true: npt.NDArray[np.intp],
        predicted: npt.NDArray[np.intp],
        outputs: npt.NDArray[np.floating],
        classes: int,
        are_probabilities: bool = True,
    ) -> None:
        self.samples, self.true, self.predicted = samples, true, predicted
        self.outputs, self.classes, self.are_probabilities = outputs, classes, are_probabilities
        pairs, weights = true * classes + predicted, samples.weights
        of_shards = [add_pairs(pairs[s], None if weights is None else weights[s]) for s in samples.shards]
        gathered = samples.world.gather_rows(np.concatenate(of_shards))
        all_pairs, weight = add_pairs(gathered[:, 0].astype(np.intp), gathered[:, 1]).T
        from_class, to_class = np.divmod(all_pairs.astype(np.intp), classes)
        self.confusion = Confusion(classes, from_class, to_class, weight)

    def score(self, code: int) -> npt.NDArray[np.floating]:
        """What the network says of a class, shape (n,); the larger, the likelier."""
        if self.outputs.shape[1] > 1:
            return self.outputs[:, code]
        return self.outputs[:, 0] if code else 1 - self.outputs[:, 0]


@dataclass(frozen=True)
class NumberPredictions:
    """Numbers in their own units, true and predicted, both of shape (n, outputs)."""

    task: ClassVar[str] = "regression"

    samples: Samples
    true: Floats
    predicted: Floats

    @property
    def errors(self) -> Floats:
        """The absolute errors, shape (n, outputs)."""
        return np.abs(self.predicted - self.true)
