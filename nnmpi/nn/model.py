"""The network: one flat vector of parameters, layers as views into it."""

import zlib
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

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


MANY = 100_000  # parameters; so many numbers show in a single trial whether they are added up in another way


class Joined(NamedTuple):
    """For which of their matrix products the hidden layers take all blocks of a batch at once."""

    forward: bool
    backward: bool


# where the gradient of a block goes, and the additions (total, part) that follow; all views of flat vectors
Destination = tuple[list[Array], list[tuple[list[Array], list[Array]]]]


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_blocks` blocks of `max_block` samples.

    All its memory is allocated here, or when a block size is met for the first time. Samples come as columns: a block
    of inputs has the shape (1 + features, b) with ones in row 0, of outputs or targets (outputs, b).

    With `join` the blocks of the hidden layers are joined where that does not change a bit of any block: a trial on
    random numbers tells, once for each kind of batch. The bits of a matrix product depend on the way in which BLAS adds
    up, which it chooses by the shapes, and not on the numbers.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Array,
        max_block: int,
        max_blocks: int = 1,
        dropout: float = 0.0,
        join: bool = False,
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
        self._join = join and max_blocks > 1 and bool(hidden)
        self._joined: dict[tuple[int, ...], Joined] = {}
        self._now = Joined(False, False)
        self._sizes: list[int] = []
        self._inputs: list[Array] = []

    def resize(self, sizes: list[int]) -> None:
        """Prepare for a batch of blocks of these sizes."""
        if sizes != self._sizes:
            self._sizes = sizes
            key = tuple(sizes)
            if self._join and len(key) > 1 and key not in self._joined:
                self._joined[key] = self._try_joining(key)
            self._arrange(key, self._joined.get(key, Joined(False, False)))

    def _arrange(self, sizes: tuple[int, ...], joined: Joined) -> None:
        self._now = joined
        for layer in self.layers[:-1]:
            layer.resize(sizes, joined.forward, contiguous=not joined.forward)
        self.layers[-1].resize(sizes, contiguous=not joined.forward)  # its blocks go to the loss one by one

    def _try_joining(self, sizes: tuple[int, ...]) -> Joined:
        """What can be joined without changing the bits of any block, by trials on random numbers.

        Vectors are not tried: BLAS adds up their products in a way that depends on where they are in memory.
        """
        apart = Joined(False, False)
        if min(*sizes, *self.architecture.sizes) > 1:
            seeds = range(1 if self.parameters.size > MANY else 4)
            expected = [self._trial(sizes, apart, seed) for seed in seeds]
            for joined in (Joined(True, True), Joined(True, False)):
                if all(self._trial(sizes, joined, seed) == expected[seed] for seed in seeds):
                    return joined
        return apart

    def _trial(self, sizes: tuple[int, ...], joined: Joined, seed: int) -> list[int]:
        """Checksums of all that comes out of a step: the logits of each block, and its gradient of each layer."""
        generator, dtype = np.random.default_rng(seed), self.parameters.dtype.type
        whole = generator.standard_normal((sum(sizes), 1 + self.architecture.sizes[0]), dtype).T
        room = np.empty(max(layer.parameters.size for layer in self.layers), dtype)
        self._arrange(sizes, joined)
        for layer in self.layers:
            for run in layer.runs:
                run.mask.fill(1)
        ends = [0, *accumulate(sizes)]
        logits = self._forward([whole[:, a:b] for a, b in pairwise(ends)], whole, training=True)
        sums = [zlib.crc32(z.data) for z in logits]
        for last in self.layers[-1].blocks:
            generator.standard_normal(out=last.delta, dtype=dtype)
        for i in range(len(self.layers) - 1, -1, -1):
            layer = self.layers[i]
            gradient = room[: layer.parameters.size].reshape(layer.parameters.shape)
            for b in range(len(sizes)):
                layer.gradient(self._inputs_of(i), b, gradient)
                sums.append(zlib.crc32(gradient.data))
            self._hand_down(i)
        return sums

    def draw_dropout(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which hidden outputs the samples in `columns` of a block keep in training; after `resize`."""
        for layer in self.layers[:-1]:
            layer.draw_mask(block, columns, generator)

    def forward(self, inputs: list[Array], training: bool = False, whole: Array | None = None) -> list[Array]:
        """The logits of each block of `inputs`, shape (outputs, b); valid until the next call of any method.

        A network that joins needs the `whole` batch, too: the blocks side by side.
        """
        self.resize([x.shape[1] for x in inputs])
        return self._forward(inputs, whole, training)

    def _forward(self, inputs: list[Array], whole: Array | None, training: bool) -> list[Array]:
        self._inputs = inputs
        *hidden, last = self.layers
        if self._now.forward and whole is not None:
            inputs = [whole]
        for layer in hidden:
            layer.forward(inputs, training)
            inputs = [run.output_with_ones for run in layer.runs]
        last.forward(self._inputs_of(len(hidden)), training)
        return [block.output for block in last.blocks]

    def _inputs_of(self, i: int) -> list[Array]:
        return self.layers[i - 1].outputs if i else self._inputs

    def _hand_down(self, i: int) -> None:
        """The gradient of the outputs of layer ``i - 1`` from that of layer `i`."""
        if i:
            self.layers[i].backward(self.layers[i - 1], self._now.backward and i < len(self.layers) - 1)

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
            inputs = self._inputs_of(i)
            for block, (gradient, additions) in enumerate(destinations):
                layer.gradient(inputs, block, gradient[i])
                for total, part in additions:
                    np.add(total[i], part[i], out=total[i])
            self._hand_down(i)

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
