"""Losses, each including the output activation of the network.

Each function takes the logits `z`, the targets `t`, memory `delta` for the derivative, all of shape ``(outputs, b)``,
and scratch arrays. It returns the *sum* of the sample losses. It writes the derivative of that sum with respect to the
logits to `delta`, and may overwrite the logits.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array
from nnmpi.nn.activations import filled, squash
from nnmpi.nn.buffers import Buffer

FEW_OUTPUTS = 32  # up to here it is faster to compute the same sums for each output than to broadcast them


class Scratch(NamedTuple):
    """The arrays that a loss needs for a block of ``b`` samples, besides inputs and result."""

    sums: Array  # (b,), one number per sample
    work: Array  # (outputs, b)
    flat: Array  # (outputs * b,), the same memory
    # A product with ones is a sum. For few samples BLAS takes a third of the time of np.add.reduce, which saves 6 µs in
    # all. The method dot(b, out) takes 0.2 µs less than the function.
    ones: Array  # (outputs,)
    ones_b: Array  # (b,)
    ones_flat: Array  # (outputs * b,)
    square: Array  # (outputs, outputs) of ones; with many outputs only one row of it
    spread: Array  # (rows of square, b)
    first: Array  # (b,), the first row of spread


class Memory:
    """Memory for `Scratch` arrays of blocks of up to `max_block` samples. The arrays for each size are made once."""

    def __init__(self, outputs: int, max_block: int, dtype: npt.DTypeLike) -> None:
        self._outputs = outputs
        self._sums: Array = np.zeros(max_block, dtype)
        self._work = Buffer(outputs, max_block, dtype)
        self._ones: Array = filled(1, outputs * max(1, max_block), np.dtype(dtype))
        rows = outputs if outputs <= FEW_OUTPUTS else 1
        self._square: Array = filled(1, rows * outputs, np.dtype(dtype)).reshape(rows, outputs)
        self._spread = Buffer(len(self._square), max_block, dtype)
        self._weights: Buffer | None = None
        self._scratch: dict[int, Scratch] = {}

    def scratch(self, b: int) -> Scratch:
        """Return the arrays for `b` samples."""
        if b not in self._scratch:
            work = self._work.view(b)
            ones, n, spread = self._ones, self._outputs, self._spread.view(b)
            parts = self._sums[:b], work, work.reshape(-1), ones[:n], ones[:b], ones[: n * b]
            self._scratch[b] = Scratch(*parts, self._square, spread, spread[0])
        return self._scratch[b]

    def weights(self, b: int) -> Array:
        """Return memory for the weights of `b` samples, repeated for each output: shape (outputs, b)."""
        if self._weights is None:
            self._weights = Buffer(self._outputs, len(self._sums), self._sums.dtype)
        return self._weights.view(b)


def softmax(z: Array, scratch: Array) -> None:
    """``exp(z_k) / Σ exp(z_j)`` of each column, in place, shifted by the maximum against overflow."""
    np.maximum.reduce(z, axis=0, out=scratch)
    np.subtract(z, scratch, out=z)
    np.exp(z, out=z)
    np.add.reduce(z, axis=0, out=scratch)
    np.divide(z, scratch, out=z)


def logistic(z: Array) -> None:
    """``1 / (1 + exp(-z))``, in place. Unlike `squash` it is accurate also where it is almost 0."""
    np.maximum(z, -0.69 * np.finfo(z.dtype).maxexp, out=z)  # 0.69 < log(2): exp(-z) stays finite
    np.negative(z, out=z)
    np.exp(z, out=z)
    np.add(z, 1, out=z)
    np.reciprocal(z, out=z)


# from logits to predictions, in place: name → function(z, scratch)
OUTPUT_ACTIVATIONS: dict[str, Callable[[Array, Array], None]] = {
    "softmax": softmax,
    "sigmoid": lambda z, scratch: logistic(z),
    "identity": lambda z, scratch: None,
}


def cross_entropy(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """``-Σ t log softmax(z) = Σ_samples log Σ exp(z - z of its class)``; the derivative is ``softmax(z) - t``.

    The logits of a sample are shifted by the logit of its class. The usual shift is by the largest logit, which takes
    more calls to find. If a sample has a loss of 88 or more, 709 in float64, the exponentials overflow: then the block
    is shifted by the largest logits, too. The caller suppresses NumPy's warnings of the overflow, once for many steps.
    """
    sums, work, _, _, ones_b, _, square, spread, _ = scratch
    np.multiply(z, t, work)
    square.dot(work, spread)  # the logit of the class, in each row
    np.subtract(z, spread, z)
    loss = _exponentials(z, t, delta, scratch)
    if loss < math.inf:
        return loss
    np.maximum.reduce(z, axis=0, out=sums)
    np.subtract(z, sums, z)
    shift = float(sums.dot(ones_b))
    return shift + _exponentials(z, t, delta, scratch)


def _exponentials(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """Return ``Σ_samples log Σ exp(z)``, and write ``softmax(z) - t`` to `delta`."""
    sums, _, _, _, ones_b, _, square, spread, first = scratch
    np.exp(z, delta)
    square.dot(delta, spread)  # Σ exp(z), in each row
    np.divide(delta, spread, delta)
    np.subtract(delta, t, delta)
    np.log(first, sums)
    return float(sums.dot(ones_b))


def binary_cross_entropy(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """``Σ log(1 + exp(z)) - t z``, written ``max(z, 0) - t z + log(1 + exp(-|z|))``; derivative ``σ(z) - t``.

    Several outputs are independent labels, and their losses are added.
    """
    work = scratch.work
    np.multiply(z, t, out=delta)
    np.maximum(z, 0, out=work)
    np.subtract(work, delta, out=work)
    np.copyto(delta, z)
    squash(delta)
    np.subtract(delta, t, out=delta)
    np.abs(z, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    np.log1p(z, out=z)
    np.add(work, z, out=work)
    return total(scratch)


def squared_error(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """The mean over the outputs of ``(z - t)²``; derivative ``2 (z - t) / outputs``; `z` does not change."""
    np.subtract(z, t, out=delta)
    np.square(delta, out=scratch.work)
    np.multiply(delta, 2 / len(z), out=delta)
    return total(scratch) / len(z)


def sigmoid_squared_error(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """`squared_error` of ``p = σ(z)``; the derivative gains the factor ``p (1 - p)``."""
    squash(z)
    loss = squared_error(z, t, delta, scratch)
    np.multiply(delta, z, out=delta)
    np.subtract(1, z, out=z)
    np.multiply(delta, z, out=delta)
    return loss


def softmax_squared_error(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """`squared_error` of ``p = softmax(z)``; derivative ``p (g - Σ_k g_k p_k)``, where ``g`` is that by ``p``."""
    softmax(z, scratch.sums)
    loss = squared_error(z, t, delta, scratch)
    np.multiply(delta, z, out=scratch.work)
    scratch.ones.dot(scratch.work, scratch.sums)
    np.subtract(delta, scratch.sums, out=delta)
    np.multiply(delta, z, out=delta)
    return loss


def half_squared_error(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """Half the mean over the outputs of ``(z - t)²``; derivative ``z - t``, as in scikit-learn."""
    np.subtract(z, t, out=delta)
    np.square(delta, out=scratch.work)
    return total(scratch) / (2 * len(z))


def poisson(z: Array, t: Array, delta: Array, scratch: Scratch) -> float:
    """Half the Poisson deviance of ``p = exp(z)``, ``Σ t log(t/p) - t + p``; derivative ``p - t``."""
    from scipy.special import xlogy

    work = scratch.work
    np.multiply(z, t, out=work)
    np.exp(z, out=delta)
    np.subtract(delta, t, out=delta)
    np.subtract(delta, work, out=work)
    np.add(work, xlogy(t, t), out=work)
    return total(scratch)


def total(scratch: Scratch) -> float:
    """Return the sum of ``work``."""
    return float(scratch.flat.dot(scratch.ones_flat))


Loss = Callable[[Array, Array, Array, Scratch], float]


def weighted(loss: Loss, z: Array, t: Array, delta: Array, scratch: Scratch, weights: Array, repeated: Array) -> float:
    """`loss`, where the loss and the derivative of each sample are multiplied by its weight; `weights` has shape (b,).

    A loss adds up sample losses by a product with ones. `scratch` comes from `with_weights`: instead of ones it has
    views of `repeated`, shape (outputs, b), which is filled with the weights here.
    """
    repeated[:] = weights
    total_loss = loss(z, t, delta, scratch)
    np.multiply(delta, repeated, out=delta)
    return total_loss


def with_weights(scratch: Scratch, repeated: Array) -> Scratch:
    """Return `scratch` with views of `repeated` instead of ones, for `weighted`."""
    return scratch._replace(ones_b=repeated[0], ones_flat=repeated.reshape(-1))


# loss → output activation → function; ``auto`` is the first output activation of a loss
LOSSES: dict[str, dict[str, Loss]] = {
    "cross-entropy": {"softmax": cross_entropy},
    "binary-cross-entropy": {"sigmoid": binary_cross_entropy},
    "mse": {
        "identity": squared_error,
        "sigmoid": sigmoid_squared_error,
        "softmax": softmax_squared_error,
    },
}

# also those that only the estimators use, not the command
ALL_LOSSES = LOSSES | {"half-squared-error": {"identity": half_squared_error}, "poisson": {"exp": poisson}}
ALL_OUTPUT_ACTIVATIONS = OUTPUT_ACTIVATIONS | {"exp": lambda z, scratch: np.exp(z, out=z)}
