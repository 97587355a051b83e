"""Losses with the output activation they end in.

Each function takes the logits `z`, the targets `t`, room for the result and a scratch array, all of shape
``(outputs, b)``, and a scratch vector of shape ``(b,)``. It returns the *sum* of the sample losses and writes the
derivative of that sum with respect to the logits to `delta`. The logits are used up.
"""

from collections.abc import Callable

import numpy as np

from nnmpi.nn.layers import Array, sigmoid


def softmax(z: Array, scratch: Array) -> None:
    """``exp(z_k) / Σ exp(z_j)`` of each column, in place, shifted by the maximum so that nothing overflows."""
    np.maximum.reduce(z, axis=0, out=scratch)
    np.subtract(z, scratch, out=z)
    np.exp(z, out=z)
    np.add.reduce(z, axis=0, out=scratch)
    np.divide(z, scratch, out=z)


# what turns logits into predictions: name → function(z, scratch), in place
OUTPUT_ACTIVATIONS: dict[str, Callable[[Array, Array], None]] = {
    "softmax": softmax,
    "sigmoid": lambda z, scratch: sigmoid(z),
    "identity": lambda z, scratch: None,
}


def cross_entropy(z: Array, t: Array, delta: Array, scratch: Array, work: Array) -> float:
    """``-Σ t log softmax(z) = Σ_samples log Σ exp(z) - Σ t z``; the derivative is ``softmax(z) - t``."""
    np.maximum.reduce(z, axis=0, out=scratch)
    np.subtract(z, scratch, out=z)
    np.exp(z, out=delta)
    np.add.reduce(delta, axis=0, out=scratch)
    np.divide(delta, scratch, out=delta)
    np.subtract(delta, t, out=delta)
    np.log(scratch, out=scratch)
    log_sums = float(np.add.reduce(scratch))
    np.multiply(z, t, out=z)
    return log_sums - total(z, scratch)


def binary_cross_entropy(z: Array, t: Array, delta: Array, scratch: Array, work: Array) -> float:
    """``Σ log(1 + exp(z)) - t z``, written ``max(z, 0) - t z + log(1 + exp(-|z|))``; derivative ``σ(z) - t``."""
    np.copyto(delta, z)
    sigmoid(delta)
    np.subtract(delta, t, out=delta)
    np.multiply(z, t, out=work)
    np.maximum(z, 0, out=scratch[None])  # one output
    np.subtract(scratch, work[0], out=scratch)
    np.abs(z, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    np.log1p(z, out=z)
    np.add(scratch, z[0], out=scratch)
    return float(np.add.reduce(scratch))


def squared_error(z: Array, t: Array, delta: Array, scratch: Array, work: Array) -> float:
    """The mean over the outputs of ``(z - t)²``; derivative ``2 (z - t) / outputs``; leaves `z` as it is."""
    np.subtract(z, t, out=delta)
    np.square(delta, out=work)
    np.multiply(delta, 2 / len(z), out=delta)
    return total(work, scratch) / len(z)


def sigmoid_squared_error(z: Array, t: Array, delta: Array, scratch: Array, work: Array) -> float:
    """`squared_error` of ``p = σ(z)``; the derivative gains the factor ``p (1 - p)``."""
    sigmoid(z)
    loss = squared_error(z, t, delta, scratch, work)
    np.multiply(delta, z, out=delta)
    np.subtract(1, z, out=z)
    np.multiply(delta, z, out=delta)
    return loss


def softmax_squared_error(z: Array, t: Array, delta: Array, scratch: Array, work: Array) -> float:
    """`squared_error` of ``p = softmax(z)``; with its derivative ``g`` to ``p``: ``p (g - Σ_k g_k p_k)``."""
    softmax(z, scratch)
    loss = squared_error(z, t, delta, scratch, work)
    np.multiply(delta, z, out=work)
    np.add.reduce(work, axis=0, out=scratch)
    np.subtract(delta, scratch, out=delta)
    np.multiply(delta, z, out=delta)
    return loss


def total(a: Array, scratch: Array) -> float:
    """The sum of `a`, over the outputs first."""
    np.add.reduce(a, axis=0, out=scratch)
    return float(np.add.reduce(scratch))


Loss = Callable[[Array, Array, Array, Array, Array], float]

# loss → output activation → function; the first output activation of each loss is what ``auto`` means
LOSSES: dict[str, dict[str, Loss]] = {
    "cross-entropy": {"softmax": cross_entropy},
    "binary-cross-entropy": {"sigmoid": binary_cross_entropy},
    "mse": {
        "identity": squared_error,
        "sigmoid": sigmoid_squared_error,
        "softmax": softmax_squared_error,
    },
}
