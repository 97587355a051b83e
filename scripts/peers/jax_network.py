"""The network that JAX's programs train: its parameters at the start, and its loss."""

from itertools import pairwise

import jax
import jax.numpy as jnp


def start(layers, key):
    """(weight, bias) of each layer, weights by Glorot's rule."""
    glorot, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(key, len(layers) - 1)
    return [(glorot(k, (a, b)), jnp.zeros(b)) for k, (a, b) in zip(keys, pairwise(layers), strict=True)]


def loss(parameters, x, y):
    """Mean cross-entropy of a batch."""
    *hidden, (weight, bias) = parameters
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(x @ weight + bias), axis=1))
