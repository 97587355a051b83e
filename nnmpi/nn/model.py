"""The network: one flat vector of parameters, layers as views into it."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnmpi.nn.layers import Array, Dense
from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS


@dataclass(frozen=True)
class Architecture:
    """What a network computes, without its parameters.

    ``sizes`` are the features, the sizes of the hidden layers and the number of outputs.
    """

    sizes: tuple[int, ...]
    activation: str
    output_activation: str
    loss: str
    dtype: str

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum((1 + i) * o for i, o in pairwise(self.sizes))

    def views(self, flat: Array) -> list[Array]:
        """One array of shape (1 + fan_in, fan_out) a layer, bias in row 0, over a flat vector of parameters."""
        views, start = [], 0
        for fan_in, fan_out in pairwise(self.sizes):
            end = start + (1 + fan_in) * fan_out
            views.append(flat[start:end].reshape(1 + fan_in, fan_out))
            start = end
        return views


def glorot_uniform(architecture: Architecture, generator: np.random.Generator) -> Array:
    """Initial parameters: weights uniform in ``±√(6 / (fan_in + fan_out))``, biases zero (Glorot & Bengio 2010).

    Drawn in float64 and rounded, so that both precisions start at the same place.
    """
    flat: Array = np.zeros(architecture.parameters, architecture.dtype)
    for layer in architecture.views(flat):
        fan_in, fan_out = layer.shape[0] - 1, layer.shape[1]
        limit = np.sqrt(6 / (fan_in + fan_out))
        layer[1:] = generator.uniform(-limit, limit, (fan_in, fan_out))
    return flat


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_batch` samples.

    All its memory is allocated here, or when a batch size is met for the first time. Samples come as columns:
    inputs have the shape (1 + features, b) with ones in row 0, outputs and targets (outputs, b).
    """

    def __init__(self, architecture: Architecture, parameters: Array, max_batch: int, dropout: float = 0.0) -> None:
        self.architecture = architecture
        self.parameters = parameters
        *hidden, last = architecture.views(parameters)
        self.layers = [Dense(layer, architecture.activation, max_batch, dropout) for layer in hidden]
        self.layers.append(Dense(last, "identity", max_batch))
        self._loss = LOSSES[architecture.loss][architecture.output_activation]
        self._output_activation = OUTPUT_ACTIVATIONS[architecture.output_activation]
        self._scratch: Array = np.empty(max_batch, parameters.dtype)
        self._chunk: Array = np.empty(min(parameters.size, 16384), parameters.dtype)
        self._b = 0

    def resize(self, b: int) -> None:
        """Prepare for batches of `b` samples."""
        if b != self._b:
            self._b = b
            for layer in self.layers:
                layer.resize(b)

    def draw_dropout(self, b: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which hidden outputs the samples in `columns` of the next training pass, over `b`, keep."""
        self.resize(b)
        for layer in self.layers[:-1]:
            layer.draw_mask(columns, generator)

    def forward(self, x: Array, training: bool = False) -> Array:
        """The logits, shape (outputs, b), of the inputs `x`; valid until the next call of any method."""
        self.resize(x.shape[1])
        for layer in self.layers:
            layer.forward(x, training)
            x = layer.output_with_ones
        return self.layers[-1].output

    def loss(self, t: Array) -> float:
        """The sum of the losses of the samples that went forward last, against the targets `t`."""
        last = self.layers[-1]
        return self._loss(last.output, t, last.delta, self._scratch[: self._b])

    def backward(self, x: Array, gradient: list[Array]) -> None:
        """After `forward` and `loss`: write the sum gradient of all layers to the views `gradient`."""
        for i in range(len(self.layers) - 1, 0, -1):
            layer, below = self.layers[i], self.layers[i - 1]
            layer.gradient(below.output_with_ones, gradient[i])
            layer.backward(below)
        self.layers[0].gradient(x, gradient[0])

    def add_l2(self, gradient: list[Array], factor: float) -> None:
        """``gradient += factor · W`` for the weights; biases are not decayed."""
        for layer, out in zip(self.architecture.views(self.parameters), gradient, strict=True):
            weight, total = layer[1:].reshape(-1), out[1:].reshape(-1)
            for start in range(0, weight.size, self._chunk.size):  # in pieces: no second vector of parameters
                w, g = weight[start : start + self._chunk.size], total[start : start + self._chunk.size]
                np.multiply(w, factor, out=self._chunk[: w.size])
                np.add(g, self._chunk[: w.size], out=g)

    def predict(self, x: Array) -> Array:
        """The outputs after the output activation, shape (outputs, b): probabilities or numbers."""
        z = self.forward(x)
        self._output_activation(z, self._scratch[: self._b])
        return z
