"""A textbook network, the independent reference: samples in rows, weights and biases apart."""

from itertools import pairwise

import numpy as np
from scipy.special import expit, log_softmax, softmax

from nnmpi.nn.losses import LOSSES

ACTIVATIONS = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "sigmoid": expit,
    "tanh": lambda z: 2 * expit(2 * z) - 1,
    "identity": lambda z: z,
}

DERIVATIVES = {
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "sigmoid": lambda z: expit(z) * expit(-z),
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "identity": np.ones_like,
}

# (loss, output activation) → sum of the sample losses, as a function of logits and targets of shape (n, outputs)
LOSS_SUMS = {
    ("cross-entropy", "softmax"): lambda z, t: -np.sum(t * log_softmax(z, axis=1)),
    ("binary-cross-entropy", "sigmoid"): lambda z, t: np.sum(t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)),
    ("mse", "identity"): lambda z, t: np.sum(np.mean((z - t) ** 2, axis=1)),
    ("mse", "sigmoid"): lambda z, t: np.sum(np.mean((expit(z) - t) ** 2, axis=1)),
    ("mse", "softmax"): lambda z, t: np.sum(np.mean((softmax(z, axis=1) - t) ** 2, axis=1)),
}

PAIRS = [(loss, output) for loss in LOSSES for output in LOSSES[loss]]


def outputs_of(loss):
    return 1 if loss == "binary-cross-entropy" else 3


def targets_for(loss, output_activation, samples, generator):
    """Return random targets that fit the loss and output activation, shape (samples, outputs)."""
    k = outputs_of(loss)
    if output_activation == "identity":
        return generator.normal(size=(samples, k))
    if k == 1:
        return (generator.permutation(samples) % 2).astype(float)[:, None]  # both classes
    return np.eye(k)[generator.integers(0, k, samples)]


def weights_and_biases(sizes, flat):
    """Return copies of the weights and biases in nnmpi's vector, which holds each layer's bias, then its weight."""
    weights, biases, start = [], [], 0
    for fan_in, fan_out in pairwise(sizes):
        biases.append(flat[start : start + fan_out].copy())
        start += fan_out
        weights.append(flat[start : start + fan_in * fan_out].reshape(fan_in, fan_out).copy())
        start += fan_in * fan_out
    return weights, biases


def flattened(weights, biases):
    return np.concatenate([part.ravel() for w, b in zip(weights, biases, strict=True) for part in (b, w)])


def pre_activations(weights, biases, x, activation):
    """Return the input of each layer's activation, shape (n, fan_out). The last one holds the logits."""
    zs, h = [], x
    for w, b in zip(weights, biases, strict=True):
        zs.append(h @ w + b)
        h = ACTIVATIONS[activation](zs[-1])
    return zs


def columns(x, dtype=np.float64):
    """Turn samples in rows into nnmpi's form: samples in columns, below a row of ones."""
    return np.vstack([np.ones(len(x)), x.T]).astype(dtype)
