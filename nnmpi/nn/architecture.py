"""The shape of a network, its parameters as one flat vector, and their initial values."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnmpi.arrays import Array


@dataclass(frozen=True)
class Architecture:
    """Everything that defines a network, except its parameters.

    ``sizes`` holds the number of features, the sizes of the hidden layers and the number of outputs.
    """

    sizes: tuple[int, ...]
    activation: str
    output_activation: str
    loss: str
    dtype: str

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(self.layer_sizes)

    @property
    def layer_sizes(self) -> list[int]:
        """The number of parameters of each layer."""
        return [(1 + i) * o for i, o in pairwise(self.sizes)]

    def views(self, flat: Array) -> list[Array]:
        """Return views of a flat vector of parameters: per layer shape (1 + fan_in, fan_out), bias in row 0."""
        views, start = [], 0
        for fan_in, fan_out in pairwise(self.sizes):
            end = start + (1 + fan_in) * fan_out
            views.append(flat[start:end].reshape(1 + fan_in, fan_out))
            start = end
        return views


def glorot_uniform(architecture: Architecture, generator: np.random.Generator) -> Array:
    """Initial parameters: weights uniform in ``±√(6 / (fan_in + fan_out))``, biases zero (Glorot & Bengio 2010).

    They are drawn in float64 and rounded, so that float32 and float64 start from the same values.
    """
    flat: Array = np.zeros(architecture.parameters, architecture.dtype)
    for layer in architecture.views(flat):
        fan_in, fan_out = layer.shape[0] - 1, layer.shape[1]
        limit = np.sqrt(6 / (fan_in + fan_out))
        layer[1:] = generator.uniform(-limit, limit, (fan_in, fan_out))
    return flat
