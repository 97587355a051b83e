"""The network of the JAX programs: initial parameters and loss."""

from itertools import pairwise

import jax
import jax.numpy as jnp


def start(layers, key):
    """Return the initial (weight, bias) of each layer, with Glorot-uniform weights."""
    glorot, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(key, len(layers) - 1)
    return [(glorot(k, (a, b)), jnp.zeros(b)) for k, (a, b) in zip(keys, pairwise(layers), strict=True)]


def loss(parameters, x, y):
    """Return the mean cross-entropy of a batch."""
    *hidden, (weight, bias) = parameters
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(x @ weight + bias), axis=1))
