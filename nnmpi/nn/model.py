"""The network: one flat vector of parameters, layers as views into it."""

import zlib
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from nnmpi.nn.architecture import Architecture
from nnmpi.nn.blas import Array, Call
from nnmpi.nn.layers import Dense, perform
from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS, Memory

MANY = 100_000  # parameters; so many numbers show in a single trial whether they are added up in another way
LARGE = 50_000  # parameters of a layer from which on it pays to let BLAS add its gradients to what is there


class Fused(NamedTuple):
    """What takes one call of BLAS instead of several: of the hidden layers' products, and of the sums of gradients."""

    forward: bool = False  # one product for all blocks of a batch
    backward: bool = False  # the same, on the way back
    sums: bool = False  # a block's gradient and its sum with the one before


# where the gradient of a block goes, and the additions (total, part) that follow, the first of them of this gradient;
# all views of flat vectors
Destination = tuple[list[Array], list[tuple[list[Array], list[Array]]]]
# what the first layer needs for the gradient of a block besides its inputs: product, delta transposed, destination
Exit = tuple[Callable[[Array, Array, Array], object], Array, list[Array], list[tuple[list[Array], list[Array]]]]


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_blocks` blocks of `max_block` samples.

    All its memory is allocated here, or when a block size is met for the first time; then calls are bound, too. Samples
    come as columns: a block of inputs has the shape (1 + features, b) with ones in row 0, of outputs or targets
    (outputs, b).

    With `fuse` BLAS does in one call what the plan has several for, where that does not change a bit of any block: a
    trial on random numbers tells, once for each kind of batch. The bits of a matrix product depend on the way in which
    BLAS adds up, which it chooses by the shapes, and not on the numbers.

    `onto_zeros` promises that the vectors for the gradients hold zeros whenever `backward` begins. BLAS can only add to
    what is there: without the promise NumPy and BLAS both clear a result first, each in a pass of its own.
    """

    def __init__(
        self,
        architecture: Architecture,
        parameters: Array,
        max_block: int,
        max_blocks: int = 1,
        dropout: float = 0.0,
        fuse: bool = False,
        onto_zeros: bool = False,
    ) -> None:
        self.architecture = architecture
        self.parameters = parameters
        *hidden, last = architecture.views(parameters)
        self.layers = [Dense(layer, architecture.activation, max_block, max_blocks, dropout) for layer in hidden]
        self.layers.append(Dense(last, None, max_block, max_blocks))
        self._hidden, self._first, self._last = self.layers[:-1], self.layers[0], self.layers[-1]
        self._loss = LOSSES[architecture.loss][architecture.output_activation]
        self._output_activation = OUTPUT_ACTIVATIONS[architecture.output_activation]
        self._memory = Memory(architecture.sizes[-1], max_block, parameters.dtype)
        self._chunk: Array = np.empty(min(parameters.size, 16384), parameters.dtype)
        self._onto_zeros = [onto_zeros and layer.parameters.size >= LARGE for layer in self.layers]
        self._fuse = fuse and max_blocks > 1
        self._fused: dict[tuple[int, ...], Fused] = {}
        self._now = Fused()
        self._sizes: list[int] = []
        self._inputs: list[Array] = []
        self._forwards: dict[tuple[int, ...], tuple[list[Call], list[Call]]] = {}
        self._backwards: dict[tuple[int, ...], tuple[list[Call], list[Exit]]] = {}
        self._destinations: list[Destination] = []

    def resize(self, sizes: list[int]) -> None:
        """Prepare for a batch of blocks of these sizes."""
        if sizes == self._sizes:
            return
        self._sizes = sizes
        key = tuple(sizes)
        if self._fuse and len(key) > 1 and key not in self._fused:
            self._fused[key] = self._try_fusing(key)
        self._arrange(key, self._fused.get(key, Fused()))
        if key not in self._forwards:
            self._forwards[key] = self._bind_forward(training=False), self._bind_forward(training=True)
        self._forward = self._forwards[key]
        self._backward = self._backwards.get(key)

    def _arrange(self, sizes: tuple[int, ...], fused: Fused) -> None:
        self._now = fused
        for layer in self._hidden:
            layer.resize(sizes, fused.forward, contiguous=not fused.forward)
        self._last.resize(sizes, contiguous=not fused.forward)  # its blocks go to the loss one by one
        self._entries = [(self._first.product_with_weights(), run.output) for run in self._first.runs]
        self._logits = [block.output for block in self._last.blocks]
        scratch = [self._memory.scratch(b) for b in sizes]
        self._ends = [(z, block.delta, s) for z, block, s in zip(self._logits, self._last.blocks, scratch, strict=True)]

    def _bind_forward(self, training: bool) -> list[Call]:
        """The calls that follow the first layer's products."""
        calls: list[Call] = []
        for below, layer in pairwise(self.layers):
            calls += below.activation(training)
            calls += layer.products(below.outputs if layer is self._last else below.outputs_of_runs)
        return calls

    def _bind_backward(
        self, destinations: list[Destination], ready: Callable[[int], None] | None
    ) -> tuple[list[Call], list[Exit]]:
        """The calls that lead back to the first layer, and what its products with the inputs need."""
        calls: list[Call] = []
        for i in range(len(self.layers) - 1, 0, -1):
            for block, (destination, x) in enumerate(zip(destinations, self.layers[i - 1].outputs, strict=True)):
                calls += self._bind_gradient(i, block, destination, x)
            if ready:
                calls.append(partial(ready, i))
            calls += self._hand_down(i)
        exits = []
        for block, (destination, x) in enumerate(zip(destinations, self._inputs, strict=True)):
            product = self._first.gradient_product(x, block, destination[0][0], self._onto_zeros[0])
            exits.append((product, self._first.blocks[block].delta_transposed, *destination))
        return calls, exits

    def _hand_down(self, i: int) -> list[Call]:
        """The gradient of the outputs of layer ``i - 1`` from that of layer `i`."""
        return self.layers[i].backward(self.layers[i - 1], self._now.backward and i < len(self._hidden))

    def _bind_gradient(self, i: int, block: int, destination: Destination, inputs: Array) -> list[Call]:
        """The sum gradient of layer `i` over a block, and the additions that follow."""
        layer, (gradient, additions) = self.layers[i], destination
        if not additions:
            return [layer.gradient(inputs, block, gradient[i], self._onto_zeros[i])]
        at_once = self._now.sums and layer.parameters.size >= LARGE
        calls = layer.add_gradient(inputs, block, additions[0][0][i], gradient[i], at_once)
        return [*calls, *(partial(np.add, total[i], part[i], total[i]) for total, part in additions[1:])]

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
        blocks = [whole[:, a:b] for a, b in pairwise(ends)]
        for (multiply, out), x in zip(self._entries, [whole] if fused.forward else blocks, strict=True):
            multiply(x, out)
        perform(self._bind_forward(training=True))
        checksums = [zlib.crc32(z.data) for z in self._logits]
        for last in self._last.blocks:
            generator.standard_normal(out=last.delta, dtype=dtype)
        for i, layer in reversed(list(enumerate(self.layers))):
            total, part = (room[: layer.parameters.size].reshape(layer.parameters.shape) for room in rooms)
            views = [total] * (i + 1), [part] * (i + 1)
            total.fill(0)
            for b, x in enumerate(self.layers[i - 1].outputs if i else blocks):
                perform([layer.gradient(x, b, part)])
                checksums.append(zlib.crc32(part.data))
                perform(self._bind_gradient(i, b, (views[1], [views]), x))
                checksums.append(zlib.crc32(total.data))
            if i:
                perform(self._hand_down(i))
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
        self._inputs = inputs
        entering = inputs if whole is None or not self._now.forward else [whole]
        for (multiply, out), x in zip(self._entries, entering, strict=True):
            multiply(x, out)
        for call in self._forward[training]:
            call()
        return self._logits

    def loss(self, targets: list[Array]) -> list[float]:
        """The sum of the losses over each block that went forward last, against its targets, (outputs, b)."""
        losses = []
        for (z, delta, scratch), t in zip(self._ends, targets, strict=True):
            losses.append(self._loss(z, t, delta, scratch))
        return losses

    def backward(self, destinations: list[Destination], ready: Callable[[int], None] | None = None) -> None:
        """After `forward` and `loss`: write the sum gradient over each block to its views, one array for each layer.

        Next, ``total += part`` for the block's additions. `ready` is told when a layer is done, the last one first; it
        is bound when a list of `destinations` is met for the first time.
        """
        if destinations is not self._destinations:
            self._destinations = destinations
            self._backwards.clear()
            self._backward = None
        if self._backward is None:
            self._backward = self._backwards[tuple(self._sizes)] = self._bind_backward(destinations, ready)
        calls, exits = self._backward
        for call in calls:
            call()
        for block, ((multiply, delta, gradient, additions), x) in enumerate(zip(exits, self._inputs, strict=True)):
            if additions:
                perform(self._bind_gradient(0, block, (gradient, additions), x))
            else:
                multiply(x, delta, gradient[0])
        if ready:
            ready(0)

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
