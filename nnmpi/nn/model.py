"""The network: one flat vector of parameters, layers as views into it."""

import zlib
from collections.abc import Callable
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
LARGE = 50_000  # parameters of a layer from which on it pays to let BLAS add up its gradients


class Fused(NamedTuple):
    """What takes one call of BLAS instead of several: of the hidden layers' products, and of the sums of gradients."""

    forward: bool = False  # one product for all blocks of a batch
    backward: bool = False  # the same, on the way back
    sums: bool = False  # a block's gradient and its sum with the one before


# where the gradient of a block goes, and the additions (total, part) that follow, the first of them of this gradient;
# all views of flat vectors
Destination = tuple[list[Array], list[tuple[list[Array], list[Array]]]]


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_blocks` blocks of `max_block` samples.

    All its memory is allocated here, or when a block size is met for the first time. Samples come as columns: a block
    of inputs has the shape (1 + features, b) with ones in row 0, of outputs or targets (outputs, b).

    With `fuse` BLAS does in one call what the plan has several for, where that does not change a bit of any block: a
    trial on random numbers tells, once for each kind of batch. The bits of a matrix product depend on the way in which
    BLAS adds up, which it chooses by the shapes, and not on the numbers.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Array,
        max_block: int,
        max_blocks: int = 1,
        dropout: float = 0.0,
        fuse: bool = False,
    ) -> None:
        self.architecture = architecture
        self.parameters = parameters
        *hidden, last = architecture.views(parameters)
        self.layers = [Dense(layer, architecture.activation, max_block, max_blocks, dropout) for layer in hidden]
        self.layers.append(Dense(last, "identity", max_block, max_blocks))
        self._hidden, self._last = self.layers[:-1], self.layers[-1]
        self._downward = list(enumerate(self.layers))[::-1]
        self._loss = LOSSES[architecture.loss][architecture.output_activation]
        self._output_activation = OUTPUT_ACTIVATIONS[architecture.output_activation]
        self._memory = Memory(architecture.sizes[-1], max_block, parameters.dtype)
        self._chunk: Array = np.empty(min(parameters.size, 16384), parameters.dtype)
        self._fuse = fuse and max_blocks > 1
        self._fused: dict[tuple[int, ...], Fused] = {}
        self._now = Fused()
        self._sizes: list[int] = []
        self._inputs: list[Array] = []

    def resize(self, sizes: list[int]) -> None:
        """Prepare for a batch of blocks of these sizes."""
        if sizes != self._sizes:
            self._sizes = sizes
            key = tuple(sizes)
            if self._fuse and len(key) > 1 and key not in self._fused:
                self._fused[key] = self._try_fusing(key)
            self._arrange(key, self._fused.get(key, Fused()))

    def _arrange(self, sizes: tuple[int, ...], fused: Fused) -> None:
        self._now = fused
        for layer in self._hidden:
            layer.resize(sizes, fused.forward, contiguous=not fused.forward)
        self._last.resize(sizes, contiguous=not fused.forward)  # its blocks go to the loss one by one
        self._logits = [block.output for block in self._last.blocks]
        self._deltas = [block.delta for block in self._last.blocks]
        self._scratch = [self._memory.scratch(b) for b in sizes]

    def _try_fusing(self, sizes: tuple[int, ...]) -> Fused:
        """What can be fused without changing the bits of any block, by trials on random numbers.

        Vectors are not tried: BLAS adds up their products in a way that depends on where they are in memory.
        """
        fused = Fused()
        if min(*sizes, *self.architecture.sizes) == 1:
            return fused
        seeds = range(1 if self.parameters.size > MANY else 4)
        expected = [self._trial(sizes, fused, seed) for seed in seeds]

        def first_good(*choices: Fused) -> Fused:
            good = (f for f in choices if all(self._trial(sizes, f, seed) == expected[seed] for seed in seeds))
            return next(good, fused)

        if len(self.layers) > 1:
            fused = first_good(Fused(True, True), Fused(True, False))
        if any(layer.parameters.size >= LARGE for layer in self.layers):
            fused = first_good(fused._replace(sums=True))
        return fused

    def _trial(self, sizes: tuple[int, ...], fused: Fused, seed: int) -> list[int]:
        """Checksums of all that comes out of a step: the logits of each block, and its gradient of each layer."""
        generator, dtype = np.random.default_rng(seed), self.parameters.dtype.type
        whole = generator.standard_normal((sum(sizes), 1 + self.architecture.sizes[0]), dtype).T
        rooms = np.empty((2, max(layer.parameters.size for layer in self.layers)), dtype)
        self._arrange(sizes, fused)
        for layer in self.layers:
            for run in layer.runs:
                run.mask.fill(1)
        ends = [0, *accumulate(sizes)]
        logits = self._forward([whole[:, a:b] for a, b in pairwise(ends)], whole, training=True)
        checksums = [zlib.crc32(z.data) for z in logits]
        for last in self._last.blocks:
            generator.standard_normal(out=last.delta, dtype=dtype)
        for i, layer in self._downward:
            total, part = (room[: layer.parameters.size].reshape(layer.parameters.shape) for room in rooms)
            total.fill(0)
            for b in range(len(sizes)):
                layer.gradient(self._inputs_of(i), b, part)
                checksums.append(zlib.crc32(part.data))
                self._add_gradient(i, b, total, part)
                checksums.append(zlib.crc32(total.data))
            if i:
                self._hand_down(i)
        return checksums

    def draw_dropout(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which hidden outputs the samples in `columns` of a block keep in training; after `resize`."""
        for layer in self._hidden:
            layer.draw_mask(block, columns, generator)

    def forward(self, inputs: list[Array], training: bool = False, whole: Array | None = None) -> list[Array]:
        """The logits of each block of `inputs`, shape (outputs, b); valid until the next call of any method.

        A network that fuses needs the `whole` batch, too: the blocks side by side.
        """
        self.resize([x.shape[1] for x in inputs])
        return self._forward(inputs, whole, training)

    def _forward(self, inputs: list[Array], whole: Array | None, training: bool) -> list[Array]:
        self._inputs = inputs
        if self._now.forward and whole is not None:
            inputs = [whole]
        for layer in self._hidden:
            layer.forward(inputs, training)
            inputs = layer.outputs_of_runs
        self._last.forward(self._inputs_of(len(self._hidden)), training)
        return self._logits

    def _inputs_of(self, i: int) -> list[Array]:
        return self.layers[i - 1].outputs if i else self._inputs

    def _hand_down(self, i: int) -> None:
        """The gradient of the outputs of layer ``i - 1`` from that of layer `i`."""
        self.layers[i].backward(self.layers[i - 1], self._now.backward and i < len(self._hidden))

    def _add_gradient(self, i: int, block: int, total: Array, part: Array) -> None:
        layer = self.layers[i]
        layer.add_gradient(self._inputs_of(i), block, total, part, self._now.sums and layer.parameters.size >= LARGE)

    def loss(self, targets: list[Array]) -> list[float]:
        """The sum of the losses over each block that went forward last, against its targets, (outputs, b)."""
        return [
            self._loss(z, t, delta, scratch)
            for z, t, delta, scratch in zip(self._logits, targets, self._deltas, self._scratch, strict=True)
        ]

    def backward(self, destinations: list[Destination], ready: Callable[[int], None] | None = None) -> None:
        """After `forward` and `loss`: write the sum gradient over each block to its views, one array for each layer.

        Next, ``total += part`` for the block's additions. `ready` is told when a layer is done, the last one first.
        """
        for i, layer in self._downward:
            inputs = self._inputs_of(i)
            for block, (gradient, additions) in enumerate(destinations):
                if not additions:
                    layer.gradient(inputs, block, gradient[i])
                    continue
                self._add_gradient(i, block, additions[0][0][i], gradient[i])
                for total, part in additions[1:]:
                    np.add(total[i], part[i], out=total[i])
            if ready:
                ready(i)
            if i:
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
