"""The network: one flat vector of parameters, layers as views into it."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnmpi.nn.layers import Array, Dense
from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS, Memory


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


# where the gradient of a block goes, and the additions (total, part) that follow; all views of flat vectors
Destination = tuple[list[Array], list[tuple[list[Array], list[Array]]]]


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_blocks` blocks of `max_block` samples.

    All its memory is allocated here, or when a block size is met for the first time. Samples come as columns: a block
    of inputs has the shape (1 + features, b) with ones in row 0, of outputs or targets (outputs, b).
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Array,
        max_block: int,
        max_blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        self.architecture = architecture
        self.parameters = parameters
        *hidden, last = architecture.views(parameters)
        self.layers = [Dense(layer, architecture.activation, max_block, max_blocks, dropout) for layer in hidden]
        self.layers.append(Dense(last, "identity", max_block, max_blocks))
        self._loss = LOSSES[architecture.loss][architecture.output_activation]
        self._output_activation = OUTPUT_ACTIVATIONS[architecture.output_activation]
        self._memory = Memory(architecture.sizes[-1], max_block, parameters.dtype)
        self._chunk: Array = np.empty(min(parameters.size, 16384), parameters.dtype)
        self._sizes: list[int] = []
        self._inputs: list[Array] = []

    def resize(self, sizes: list[int]) -> None:
        """Prepare for a batch of blocks of these sizes."""
        if sizes != self._sizes:
            self._sizes = sizes
            for layer in self.layers:
                layer.resize(sizes)

    def draw_dropout(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which hidden outputs the samples in `columns` of a block keep in training; after `resize`."""
        for layer in self.layers[:-1]:
            layer.draw_mask(block, columns, generator)

    def forward(self, inputs: list[Array], training: bool = False) -> list[Array]:
        """The logits of each block of `inputs`, shape (outputs, b); valid until the next call of any method."""
        self.resize([x.shape[1] for x in inputs])
        self._inputs = inputs
        for layer in self.layers:
            inputs = layer.forward(inputs, training)
        return [block.output for block in self.layers[-1].blocks]

    def loss(self, targets: list[Array]) -> list[float]:
        """The sum of the losses over each block that went forward last, against its targets, (outputs, b)."""
        return [
            self._loss(block.output, t, block.delta, self._memory.scratch(t.shape[1]))
            for block, t in zip(self.layers[-1].blocks, targets, strict=True)
        ]

    def backward(self, destinations: list[Destination]) -> None:
        """After `forward` and `loss`: write the sum gradient over each block to its views, one array for each layer.

        Next, ``total += part`` for the block's additions.
        """
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            inputs = self.layers[i - 1].outputs if i else self._inputs
            for block, (gradient, additions) in enumerate(destinations):
                layer.gradient(inputs, block, gradient[i])
                for total, part in additions:
                    np.add(total[i], part[i], out=total[i])
            if i:
                layer.backward(self.layers[i - 1])

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
        (z,) = self.forward([x])
        self._output_activation(z, self._memory.scratch(z.shape[1]).sums)
        return z
