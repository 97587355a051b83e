"""The network: one flat vector of parameters, and layers as views of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from nnmpi.arrays import Array, Booleans, Indices
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.calls import Call
from nnmpi.nn.layers import Dense
from nnmpi.nn.losses import ALL_LOSSES, ALL_OUTPUT_ACTIVATIONS, Memory, Scratch, weighted, with_weights

ROWS = 512  # rows of a gradient per product, where the reduction takes it in parts; fewer make the product slower
DECAY_PIECE = 1 << 14  # weights whose decay is computed at once; it stays in the first-level cache until it is added
# Of a block: its gradient, one array per layer, and the additions (total, part) that follow when it is computed. All
# arrays are views of flat vectors.
Destination = tuple[list[Array], list[tuple[list[Array], list[Array]]]]


class Bound(NamedTuple):
    """The computations of a batch, bound to the arrays of network and batch: each run takes the samples in them."""

    sizes: list[int]  # of the blocks
    forward: list[Call]
    logits: list[Array]  # one per block, (outputs, b)
    losses: list[Callable[[], float]]  # one per block
    backward: list[Call]


@dataclass
class SharedCalls:
    """The calls and arrays that batches with the same block sizes share: all but those that take the inputs."""

    forward: tuple[list[Call], list[Call]]  # outside training, in training
    logits: list[Array]
    loss_arrays: list[tuple[Array, Array, Scratch]]  # logits, delta and scratch of each block
    backward: list[Call] | None = None  # up to the delta of the first layer


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_blocks` blocks of `max_block` samples.

    All memory is allocated here, or at the first block of a new size. Samples are columns: a block of inputs has the
    shape (1 + features, b), with ones in row 0, and a block of outputs or targets (outputs, b). A batch is bound once.
    Then `forward`, `loss` and `backward` are called, in this order, each time its arrays hold new samples.
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
        self._hidden = [Dense(layer, architecture.activation, max_block, max_blocks, dropout) for layer in hidden]
        self._last = Dense(last, None, max_block, max_blocks)
        self.layers = [*self._hidden, self._last]
        self._starts = [0, *accumulate(architecture.layer_sizes)]
        self._loss = ALL_LOSSES[architecture.loss][architecture.output_activation]
        self._output_activation = ALL_OUTPUT_ACTIVATIONS[architecture.output_activation]
        self._memory = Memory(architecture.sizes[-1], max_block, parameters.dtype)
        self._chunk: Array = np.empty(min(parameters.size, DECAY_PIECE), parameters.dtype)
        self._factor: Array = np.zeros((), parameters.dtype)  # each call would convert a Python float
        self._decayed_gradient: list[Array] | None = None
        self._decay: list[Call] = []
        self._shared: dict[tuple[int, ...], SharedCalls] = {}
        self._sizes: list[int] | None = None
        self._destinations: list[Destination] | None = None

    def resize(self, sizes: list[int]) -> None:
        """Prepare for a batch of blocks of these sizes."""
        if sizes != self._sizes:
            for layer in self.layers:
                layer.resize(sizes)
            self._sizes = sizes

    def bind(
        self,
        inputs: list[Array],
        targets: list[Array] | None = None,
        destinations: list[Destination] | None = None,
        ready: Callable[[int], None] | None = None,
        training: bool = False,
        weights: list[Array] | None = None,
    ) -> Bound:
        """Bind the computations for a batch with these blocks of `inputs`. Without `targets` it has no loss.

        With `weights`, an array of shape (b,) for each block, the loss and the gradient of each sample are multiplied
        by its weight.

        `backward` writes the sum gradient over each block to its destination, one array per layer. Then it does the
        block's additions, ``total += part``. It fills the flat gradient from its end to its beginning, and calls
        `ready` with the position from which on it is complete. Batches with the same list of `destinations` must have
        the same `ready`.
        """
        sizes = [x.shape[1] for x in inputs]
        self.resize(sizes)
        key = tuple(sizes)
        if key not in self._shared:
            self._shared[key] = self._bind_shared(sizes)
        shared = self._shared[key]
        losses: list[Callable[[], float]] = []
        backward: list[Call] = []
        if targets is not None:
            for block, ((z, delta, scratch), t) in enumerate(zip(shared.loss_arrays, targets, strict=True)):
                if weights is None:
                    losses.append(partial(self._loss, z, t, delta, scratch))
                else:
                    repeated = self._memory.weights(sizes[block])
                    arrays = z, t, delta, with_weights(scratch, repeated), weights[block], repeated
                    losses.append(partial(weighted, self._loss, *arrays))
        if destinations is not None:
            if destinations is not self._destinations:
                self._destinations = destinations
                for other in self._shared.values():
                    other.backward = None
            if shared.backward is None:
                shared.backward = self._bind_backward(destinations, ready)
            backward = [*shared.backward, *self._bind_gradients(0, destinations, inputs, ready)]
        forward = [*self.layers[0].products(inputs), *shared.forward[training]]
        return Bound(sizes, forward, shared.logits, losses, backward)

    def _bind_shared(self, sizes: list[int]) -> SharedCalls:
        logits = [block.output for block in self._last.blocks]
        deltas, scratch = [block.delta for block in self._last.blocks], [self._memory.scratch(b) for b in sizes]
        forward = self._bind_forward(training=False), self._bind_forward(training=True)
        return SharedCalls(forward, logits, list(zip(logits, deltas, scratch, strict=True)))

    def _bind_forward(self, training: bool) -> list[Call]:
        """Return the calls that follow the first layer's products."""
        calls: list[Call] = []
        for below, layer in pairwise(self.layers):
            calls += below.activation(training)
            calls += layer.products(below.outputs)
        return calls

    def _bind_backward(self, destinations: list[Destination], ready: Callable[[int], None] | None) -> list[Call]:
        """Return the calls from the loss back to the first layer, without the gradient of that layer."""
        calls: list[Call] = []
        for i in range(len(self.layers) - 1, 0, -1):
            below = self.layers[i - 1]
            calls += self._bind_gradients(i, destinations, below.outputs, ready)
            calls += self.layers[i].backward(below)
        return calls

    def _bind_gradients(
        self, i: int, destinations: list[Destination], inputs: list[Array], ready: Callable[[int], None] | None
    ) -> list[Call]:
        """Return the calls for the gradient of layer `i`: of each block, with the additions that follow."""
        if ready and len(destinations) == 1 and not destinations[0][1]:
            return self._bind_rows(i, destinations[0][0][i], inputs[0], ready)
        calls: list[Call] = []
        for block, ((gradient, additions), x) in enumerate(zip(destinations, inputs, strict=True)):
            calls.append(self.layers[i].gradient(x, block, gradient[i]))
            calls += [partial(np.add, total[i], part[i], total[i]) for total, part in additions]
        return [*calls, partial(ready, self._starts[i])] if ready else calls

    def _bind_rows(self, i: int, gradient: Array, x: Array, ready: Callable[[int], None]) -> list[Call]:
        """Return the calls for the gradient of layer `i` of one block, in pieces of rows, the last rows first."""
        calls: list[Call] = []
        count = max(1, len(x) // ROWS)
        bounds = [len(x) * part // count for part in range(count + 1)]
        for low, high in reversed([*pairwise(bounds)]):
            calls.append(self.layers[i].gradient(x[low:high], 0, gradient[low:high]))
            calls.append(partial(ready, self._starts[i] + low * gradient.shape[1]))
        return calls

    def draw_dropout(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw the dropout masks of all hidden layers for the samples in `columns` of a block; call `resize` first."""
        for layer in self._hidden:
            layer.draw_mask(block, columns, generator)

    def forward(self, batch: Bound) -> list[Array]:
        """Return the logits of each block, shape (outputs, b); valid until the next call of any method."""
        for call in batch.forward:
            call()
        return batch.logits

    def loss(self, batch: Bound) -> list[float]:
        """Return the sum of the losses over each block. Call it after `forward`; it overwrites the logits."""
        return [loss() for loss in batch.losses]

    def backward(self, batch: Bound) -> None:
        """Compute the gradients into the destinations of the batch. Call it after `loss`."""
        for call in batch.backward:
            call()

    def add_l2(self, gradient: list[Array], factor: float) -> None:
        """``gradient += factor · W`` for the weights; biases are not decayed."""
        if gradient is not self._decayed_gradient:  # the same one in every step
            self._decayed_gradient, self._decay = gradient, self._bind_decay(gradient)
        self._factor[()] = factor
        for call in self._decay:
            call()

    def _bind_decay(self, gradient: list[Array]) -> list[Call]:
        calls: list[Call] = []
        for layer, out in zip(self.architecture.views(self.parameters), gradient, strict=True):
            weight, total = layer[1:].reshape(-1), out[1:].reshape(-1)
            for start in range(0, weight.size, DECAY_PIECE):  # in pieces: needs no second vector of this size
                w, g = weight[start : start + DECAY_PIECE], total[start : start + DECAY_PIECE]
                chunk = self._chunk[: w.size]
                calls += [partial(np.multiply, w, self._factor, chunk), partial(np.add, g, chunk, g)]
        return calls

    def predict(self, x: Array) -> Array:
        """Return the outputs after the output activation, shape (outputs, b): probabilities or numbers."""
        (z,) = self.forward(self.bind([x]))
        self.activate(z)
        return z

    def activate(self, z: Array) -> None:
        """Apply the output activation to the logits `z` of a block, in place."""
        self._output_activation(z, self._memory.scratch(z.shape[1]).sums)


def decide(z: Array) -> Indices:
    """Return the predicted class codes, shape (b,), from the logits `z`, shape (outputs, b).

    Logits suffice: the output activations keep their order, and the sigmoid is above ½ where its logit is positive.
    """
    if len(z) == 1:
        return np.asarray(z[0] > 0, np.intp)
    return np.asarray(np.argmax(z, axis=0), np.intp)


def decide_labels(z: Array) -> Booleans:
    """Return whether each label has a probability above ½, shape (b, outputs), from the logits `z`."""
    return np.asarray((z > 0).T)
