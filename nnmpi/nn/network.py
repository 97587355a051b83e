"""The network: one flat vector of parameters, layers as views into it."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.memory import Allocate, aligned
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.blas import Array, Call
from nnmpi.nn.kernel import is_slow_across
from nnmpi.nn.layers import Dense, perform
from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS, Memory, Scratch

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


class Bound(NamedTuple):
    """What a batch makes a network do, bound to the arrays of both: to be done whenever other samples are in them."""

    sizes: list[int]  # of its blocks
    forward: list[Call]
    logits: list[Array]  # of each block, (outputs, b)
    losses: list[Callable[[], float]]  # of each block
    backward: list[Call]


@dataclass
class Kind:
    """What all batches with blocks of the same sizes have in common."""

    fused: Fused
    entries: list[tuple[Any, Array]]  # the first layer's products: function (inputs, out), and where they go
    forward: tuple[list[Call], list[Call]]  # what follows them, outside training and in it
    logits: list[Array]
    ends: list[tuple[Array, Array, Scratch]]  # what the loss of a block needs besides its targets, which come second
    backward: list[Call] | None = None  # what leads back to the first layer


class Network:
    """A network of dense layers over `parameters`, for batches of up to `max_blocks` blocks of `max_block` samples.

    All its memory is allocated here, or when a block size is met for the first time. Samples come as columns: a block
    of inputs has the shape (1 + features, b) with ones in row 0, of outputs or targets (outputs, b). A batch is bound
    once; then it goes `forward`, its `loss` is computed and it goes `backward`, each time its arrays are filled anew.

    With `fuse` BLAS does in one call what the plan has several for, where that does not change a bit of any block: a
    trial on random numbers tells, once for each kind of batch. The bits of a matrix product depend on the way in which
    BLAS adds up, which it chooses by the shapes, and not on the numbers.

    `onto_zeros` promises that the vectors for the gradients hold zeros whenever `backward` begins. BLAS can only add to
    what is there: without the promise NumPy and BLAS both clear a result first, each in a pass of its own.

    `sample_major` lays the outputs of large layers sample by sample into memory, which pays where BLAS has one thread;
    nothing but the rounding depends on it. The outputs of the first layer go to what `allocate` gives.
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
        sample_major: bool = False,
        allocate: Allocate = aligned,
    ) -> None:
        self.architecture = architecture
        self.parameters = parameters
        *hidden, last = architecture.views(parameters)
        how = architecture.activation, max_block, max_blocks, dropout, sample_major
        self.layers = [Dense(layer, *how, aligned if i else allocate) for i, layer in enumerate(hidden)]
        self.layers.append(Dense(last, None, max_block, max_blocks))
        self._hidden, self._first, self._last = self.layers[:-1], self.layers[0], self.layers[-1]
        self._loss = LOSSES[architecture.loss][architecture.output_activation]
        self._output_activation = OUTPUT_ACTIVATIONS[architecture.output_activation]
        self._memory = Memory(architecture.sizes[-1], max_block, parameters.dtype)
        self._chunk: Array = np.empty(min(parameters.size, 16384), parameters.dtype)
        wide = max((layer.fan_out for layer in self._hidden if layer.is_sample_major), default=0)
        way_round = is_slow_across(parameters.dtype)
        self._room: Array | None = np.empty(wide * max_block * max_blocks, parameters.dtype) if way_round else None
        self._onto_zeros = [onto_zeros and layer.parameters.size >= LARGE for layer in self.layers]
        self._fuse = fuse and max_blocks > 1
        self._now = Fused()
        self._kinds: dict[tuple[int, ...], Kind] = {}
        self._sizes: list[int] | None = None
        self._destinations: list[Destination] | None = None

    def resize(self, sizes: list[int]) -> Kind:
        """Prepare for a batch of blocks of these sizes."""
        key = tuple(sizes)
        if key not in self._kinds:
            fused = self._try_fusing(key) if self._fuse and len(key) > 1 else Fused()
            self._kinds[key] = self._make(key, fused)
        elif sizes != self._sizes:
            self._arrange(key, self._kinds[key].fused)
        self._sizes = sizes
        return self._kinds[key]

    def bind(
        self,
        inputs: list[Array],
        targets: list[Array] | None = None,
        destinations: list[Destination] | None = None,
        ready: Callable[[int], None] | None = None,
        whole: Array | None = None,
        offer: Callable[[Array, Array, Array], Call] | None = None,
        training: bool = False,
    ) -> Bound:
        """What the network does with a batch of blocks of `inputs`: without `targets` it has no loss.

        On the way backward it writes the sum gradient over each block to the views of its destination, one array for
        each layer. Next, ``total += part`` for the block's additions. `ready` is told when a layer is done, the last
        one first; it is the same for all batches with the same list of `destinations`. The last product of all is
        the first layer's gradient; with `offer` its factors and its destination are offered for others to multiply.

        A network that fuses needs the `whole` batch, too: the inputs' blocks side by side.
        """
        sizes = [x.shape[1] for x in inputs]
        kind = self.resize(sizes)
        entering = inputs if whole is None or not kind.fused.forward else [whole]
        entries = [partial(multiply, x, out) for (multiply, out), x in zip(kind.entries, entering, strict=True)]
        losses: list[Callable[[], float]] = []
        backward: list[Call] = []
        if targets is not None:
            for (z, delta, scratch), t in zip(kind.ends, targets, strict=True):
                losses.append(partial(self._loss, z, t, delta, scratch))
        if destinations is not None:
            if destinations is not self._destinations:
                self._destinations = destinations
                for other in self._kinds.values():
                    other.backward = None
            if kind.backward is None:
                kind.backward = self._bind_backward(destinations, ready)
            backward = [*kind.backward, *self._bind_first_gradients(destinations, inputs, ready, offer)]
        return Bound(sizes, [*entries, *kind.forward[training]], kind.logits, losses, backward)

    def _arrange(self, sizes: tuple[int, ...], fused: Fused) -> None:
        self._now = fused
        contiguous = not fused.forward
        for layer in self._hidden:
            layer.resize(sizes, fused.forward, contiguous)
            contiguous = not (fused.forward or layer.is_sample_major)
        self._last.resize(sizes, contiguous=contiguous)  # its blocks go to the loss one by one

    def _make(self, sizes: tuple[int, ...], fused: Fused) -> Kind:
        self._arrange(sizes, fused)
        logits = [block.output for block in self._last.blocks]
        deltas, scratch = [block.delta for block in self._last.blocks], [self._memory.scratch(b) for b in sizes]
        return Kind(
            fused,
            [(self._first.product_with_weights(), run.output) for run in self._first.runs],
            (self._bind_forward(training=False), self._bind_forward(training=True)),
            logits,
            list(zip(logits, deltas, scratch, strict=True)),
        )

    def _bind_forward(self, training: bool) -> list[Call]:
        """The calls that follow the first layer's products."""
        calls: list[Call] = []
        for below, layer in pairwise(self.layers):
            calls += below.activation(training)
            calls += layer.products(below.outputs if layer is self._last else below.outputs_of_runs)
        return calls

    def _bind_backward(self, destinations: list[Destination], ready: Callable[[int], None] | None) -> list[Call]:
        """The calls that lead back to the first layer."""
        calls: list[Call] = []
        for i in range(len(self.layers) - 1, 0, -1):
            calls += self._bind_gradients(i, destinations, self.layers[i - 1].outputs, ready)
            calls += self._hand_down(i)
        return calls

    def _bind_first_gradients(
        self,
        destinations: list[Destination],
        inputs: list[Array],
        ready: Callable[[int], None] | None,
        offer: Callable[[Array, Array, Array], Call] | None,
    ) -> list[Call]:
        if not offer:
            return self._bind_gradients(0, destinations, inputs, ready)
        (x,), (block,), ((gradient, _),) = inputs, self._first.blocks, destinations
        return [offer(x, block.delta_transposed, gradient[0])]

    def _bind_gradients(
        self, i: int, destinations: list[Destination], inputs: list[Array], ready: Callable[[int], None] | None
    ) -> list[Call]:
        """All that makes the gradient of layer `i`."""
        calls: list[Call] = []
        for block, (destination, x) in enumerate(zip(destinations, inputs, strict=True)):
            calls += self._bind_gradient(i, block, destination, x)
        return [*calls, partial(ready, i)] if ready else calls

    def _hand_down(self, i: int) -> list[Call]:
        """The gradient of the outputs of layer ``i - 1`` from that of layer `i`."""
        return self.layers[i].backward(self.layers[i - 1], self._now.backward and i < len(self._hidden), self._room)

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
        kind = self._make(sizes, fused)
        for layer in self.layers:
            for run in layer.runs:
                run.mask.fill(1)
        ends = [0, *accumulate(sizes)]
        blocks = [whole[:, a:b] for a, b in pairwise(ends)]
        for (multiply, out), x in zip(kind.entries, [whole] if fused.forward else blocks, strict=True):
            multiply(x, out)
        perform(kind.forward[True])
        checksums = [zlib.crc32(z.data) for z in kind.logits]
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
        for layer, out in zip(self.architecture.views(self.parameters), gradient, strict=True):
            weight, total = layer[1:].reshape(-1), out[1:].reshape(-1)
            for start in range(0, weight.size, self._chunk.size):  # in pieces: no second vector of parameters
                w, g = weight[start : start + self._chunk.size], total[start : start + self._chunk.size]
                np.multiply(w, factor, out=self._chunk[: w.size])
                np.add(g, self._chunk[: w.size], out=g)

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
