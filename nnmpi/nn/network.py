"""The network: one flat vector of parameters, layers as views into it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.nn.architecture import Architecture
from nnmpi.nn.arrays import Array, Call
from nnmpi.nn.layers import Dense
from nnmpi.nn.losses import ALL_LOSSES, ALL_OUTPUT_ACTIVATIONS, Memory, Scratch, weighted, with_weights

ROWS = 512  # of a gradient that are computed at once where others wait for them; fewer would make the product slower
DECAYED = 1 << 14  # weights whose decay is computed at once; it stays in the first-level cache until it is added
# where the gradient of a block goes, and the additions (total, part) that follow, the first of them of this gradient;
# all views of flat vectors
Destination = tuple[list[Array], list[tuple[list[Array], list[Array]]]]


class Bound(NamedTuple):
    """What a batch makes a network do, bound to the arrays of both: to be done whenever other samples are in them."""

    sizes: list[int]  # of its blocks
    forward: list[Call]
    logits: list[Array]  # of each block, (outputs, b)
    losses: list[Callable[[], float]]  # of each block
    backward: list[Call]


@dataclass
class Shared:
    """The calls and arrays that all batches with blocks of the same sizes share: all but the first layer's products."""

    forward: tuple[list[Call], list[Call]]  # outside training and in it
    logits: list[Array]
    ends: list[tuple[Array, Array, Scratch]]  # what the loss of a block needs besides its targets, which come second
    backward: list[Call] | None = None  # back to the first layer


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_blocks` blocks of `max_block` samples.

    All its memory is allocated here, or when a block size is met for the first time. Samples come as columns: a block
    of inputs has the shape (1 + features, b) with ones in row 0, of outputs or targets (outputs, b). A batch is bound
    once; then it goes `forward`, its `loss` is computed and it goes `backward`, each time its arrays are filled anew.
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
        self._chunk: Array = np.empty(min(parameters.size, DECAYED), parameters.dtype)
        self._factor: Array = np.zeros((), parameters.dtype)  # NumPy converts a Python float anew in each call
        self._decayed: list[Array] | None = None
        self._decay: list[Call] = []
        self._shared: dict[tuple[int, ...], Shared] = {}
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
        """What the network does with a batch of blocks of `inputs`: without `targets` it has no loss.

        With `weights`, an array of shape (b,) for each block, the loss and the gradient of each sample are multiplied
        by its weight.

        On the way backward it writes the sum gradient over each block to the views of its destination, one array for
        each layer. Next, ``total += part`` for the block's additions. `ready` is told from where on the flat gradient
        is done, which goes on from its end to its beginning; it is the same for all batches with the same list of
        `destinations`.
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
            for block, ((z, delta, scratch), t) in enumerate(zip(shared.ends, targets, strict=True)):
                if weights is None:
                    losses.append(partial(self._loss, z, t, delta, scratch))
                else:
                    room = self._memory.weights(sizes[block])
                    arrays = z, t, delta, with_weights(scratch, room), weights[block], room
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

    def _bind_shared(self, sizes: list[int]) -> Shared:
        logits = [block.output for block in self._last.blocks]
        deltas, scratch = [block.delta for block in self._last.blocks], [self._memory.scratch(b) for b in sizes]
        forward = self._bind_forward(training=False), self._bind_forward(training=True)
        return Shared(forward, logits, list(zip(logits, deltas, scratch, strict=True)))

    def _bind_forward(self, training: bool) -> list[Call]:
        """The calls that follow the first layer's products."""
        calls: list[Call] = []
        for below, layer in pairwise(self.layers):
            calls += below.activation(training)
            calls += layer.products(below.outputs)
        return calls

    def _bind_backward(self, destinations: list[Destination], ready: Callable[[int], None] | None) -> list[Call]:
        """The calls that lead back to the first layer."""
        calls: list[Call] = []
        for i in range(len(self.layers) - 1, 0, -1):
            below = self.layers[i - 1]
            calls += self._bind_gradients(i, destinations, below.outputs, ready)
            calls += self.layers[i].backward(below)
        return calls

    def _bind_gradients(
        self, i: int, destinations: list[Destination], inputs: list[Array], ready: Callable[[int], None] | None
    ) -> list[Call]:
        """All that makes the gradient of layer `i`: of each block, and the additions that follow."""
        if ready and len(destinations) == 1 and not destinations[0][1]:
            return self._bind_rows(i, destinations[0][0][i], inputs[0], ready)
        calls: list[Call] = []
        for block, ((gradient, additions), x) in enumerate(zip(destinations, inputs, strict=True)):
            calls.append(self.layers[i].gradient(x, block, gradient[i]))
            calls += [partial(np.add, total[i], part[i], total[i]) for total, part in additions]
        return [*calls, partial(ready, self._starts[i])] if ready else calls

    def _bind_rows(self, i: int, gradient: Array, x: Array, ready: Callable[[int], None]) -> list[Call]:
        """The gradient of layer `i` of one block, some rows after the other, the last ones first."""
        calls: list[Call] = []
        count = max(1, len(x) // ROWS)
        bounds = [len(x) * part // count for part in range(count + 1)]
        for low, high in reversed([*pairwise(bounds)]):
            calls.append(self.layers[i].gradient(x[low:high], 0, gradient[low:high]))
            calls.append(partial(ready, self._starts[i] + low * gradient.shape[1]))
        return calls

    def draw_dropout(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which hidden outputs the samples in `columns` of a block keep in training; after `resize`."""
        for layer in self._hidden:
            layer.draw_mask(block, columns, generator)

    def forward(self, batch: Bound) -> list[Array]:
        """The logits of each block, shape (outputs, b); valid until the next call of any method."""
        for call in batch.forward:
            call()
        return batch.logits

    def loss(self, batch: Bound) -> list[float]:
        """The sum of the losses over each block, after `forward`; it uses up the logits."""
        return [loss() for loss in batch.losses]

    def backward(self, batch: Bound) -> None:
        """The gradients, to where the batch was bound to bring them; after `loss`."""
        for call in batch.backward:
            call()

    def add_l2(self, gradient: list[Array], factor: float) -> None:
        """``gradient += factor · W`` for the weights; biases are not decayed."""
        if gradient is not self._decayed:  # it is the same one in every step
            self._decayed, self._decay = gradient, self._bind_decay(gradient)
        self._factor[()] = factor
        for call in self._decay:
            call()

    def _bind_decay(self, gradient: list[Array]) -> list[Call]:
        calls: list[Call] = []
        for layer, out in zip(self.architecture.views(self.parameters), gradient, strict=True):
            weight, total = layer[1:].reshape(-1), out[1:].reshape(-1)
            for start in range(0, weight.size, DECAYED):  # in pieces: no second vector of parameters
                w, g = weight[start : start + DECAYED], total[start : start + DECAYED]
                chunk = self._chunk[: w.size]
                calls += [partial(np.multiply, w, self._factor, chunk), partial(np.add, g, chunk, g)]
        return calls

    def predict(self, x: Array) -> Array:
        """The outputs after the output activation, shape (outputs, b): probabilities or numbers."""
        (z,) = self.forward(self.bind([x]))
        self._output_activation(z, self._memory.scratch(z.shape[1]).sums)
        return z


def decide(z: Array) -> npt.NDArray[np.intp]:
    """The class codes, shape (b,), that the logits `z`, shape (outputs, b), speak for.

    The output activations keep the order of the logits, and the sigmoid is above ½ where its logit is positive.
    """
    if len(z) == 1:
        return np.asarray(z[0] > 0, np.intp)
    return np.asarray(np.argmax(z, axis=0), np.intp)


def decide_labels(z: Array) -> npt.NDArray[np.bool_]:
    """Whether each output, a yes or no of its own, has a probability above ½: shape (b, outputs)."""
    return np.asarray((z > 0).T)
