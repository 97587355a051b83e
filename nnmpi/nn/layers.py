"""The dense layer.

Everything inside a network is *feature-major*: a batch of ``b`` samples is an array of shape ``(features, b)``.
Elementwise functions then work on contiguous memory, and sums over the classes run along rows. (In memory the outputs
of large layers may lie sample by sample all the same, see `nnmpi.nn.buffers`.) Each array that feeds a layer starts
with a row of ones, so that the bias is row 0 of the layer's parameters and forward and backward need one matrix
product each for weights and bias together.

What a batch makes a layer do are NumPy's and BLAS's calls on arrays that stay where they are. So nothing here is done
at once: functions return *calls* with all their arguments bound, made once for each kind of batch, and those that touch
the samples once for each batch of a window. A step only goes through the list; with few samples looking up arrays and
layers would take a fifth of its time.

A batch comes in one or more *blocks* of samples, whose bits must depend on nothing but the block. A layer goes through
all blocks before the next layer's turn, because its weights then stay in the cache. Each block has arrays of its own,
or the blocks are *joined*: they lie side by side in arrays of the whole batch, and one matrix product can serve them
all. Whether that leaves their bits alone is for the network to find out.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from nnmpi.memory import Allocate, aligned
from nnmpi.nn.activations import ACTIVATIONS, Slope, multiply_by_slope, slope_type
from nnmpi.nn.blas import Array, Call, add_product, transpose
from nnmpi.nn.buffers import Buffer, SampleMajor

WIDE = 200_000  # parameters of a layer from which on its outputs are better kept sample by sample, with one thread


def perform(calls: Iterable[Call]) -> None:
    """Do what was bound."""
    for call in calls:
        call()


class Block(NamedTuple):
    """A layer's arrays for one block of ``b`` samples."""

    output: Array  # (fan_out, b)
    output_with_ones: Array  # (1 + fan_out, b)
    delta: Array  # (fan_out, b), the gradient of the layer's products; in a hidden layer the memory of the output
    delta_transposed: Array
    mask: Array  # (fan_out, b), of dropout

    def columns(self, place: slice) -> "Block":
        """The arrays of some of the samples."""
        delta = self.delta[:, place]
        outputs = self.output[:, place], self.output_with_ones[:, place]
        return Block(*outputs, delta, delta.T, self.mask[:, place])


class Plain(NamedTuple):
    """The same memory as functions of each number go through it: contiguous arrays of one shape."""

    output: Array
    delta: Array
    mask: Array
    slope: Slope  # the derivative of the activation


class Dense:
    """One layer ``f(Wᵀ H + b)``; owns its activations and their gradient, borrows its parameters.

    On the way back the gradient of a hidden layer takes the place of its outputs, which nobody needs any more by then.

    Parameters
    ----------
    parameters : array, shape (1 + fan_in, fan_out)
        The bias in row 0, then the weight; a view into the network's flat vector.
    activation : str or None
        A name in `ACTIVATIONS`; None for the output layer: its loss does the rest, and needs both arrays at once.
    max_block : int
        The largest number of samples in a block.
    max_blocks : int
        The largest number of blocks in a batch.
    dropout : float
        The part of the outputs that training sets to zero; the others are multiplied by ``1 / (1 - dropout)``
        (inverted dropout, Srivastava et al. 2014), so that nothing changes for evaluation.
    sample_major : bool
        Whether the outputs lie sample by sample in memory, if the layer is hidden and has `WIDE` parameters or more.
    allocate : function
        Where the memory of the outputs comes from.
    """

    def __init__(
        self,
        parameters: Array,
        activation: str | None,
        max_block: int,
        max_blocks: int = 1,
        dropout: float = 0.0,
        sample_major: bool = False,
        allocate: Allocate = aligned,
    ) -> None:
        self.parameters = parameters
        self.fan_in, self.fan_out = parameters.shape[0] - 1, parameters.shape[1]
        self._transposed = parameters.T  # (fan_out, 1 + fan_in)
        self._weight = parameters[1:]  # (fan_in, fan_out)
        self._is_last = activation is None
        self._activation = activation or "identity"
        self._f, self._f_slope = ACTIVATIONS[self._activation]
        dtype = parameters.dtype
        self._keep = dtype.type(1.0 - dropout)
        self._drops = dropout > 0
        self.is_sample_major = sample_major and not self._is_last and parameters.size >= WIDE
        self._buffers = [self._allocate(max_block, allocate) for _ in range(max_blocks)]
        self._joined = self._allocate(max_block * max_blocks, allocate) if max_blocks > 1 else self._buffers[0]
        self._made: dict[tuple[tuple[int, ...], bool], tuple[list[Block], list[Block], list[Plain]]] = {}
        self.product: Any = np.ndarray.dot

    def _allocate(self, size: int, allocate: Allocate) -> list[Buffer | SampleMajor]:
        """The memory of a `Block`; what is not used is not touched, and costs nothing."""
        dtype, units = self._weight.dtype, self.fan_out
        buffer = SampleMajor if self.is_sample_major else Buffer
        return [
            buffer(units, size, dtype, ones=True, allocate=allocate),
            buffer(units, size if self._is_last else 0, dtype),
            buffer(units, size if self._drops else 0, dtype),
            buffer(units, size, slope_type(self._activation, units * size, dtype)),
        ]

    def resize(self, sizes: Sequence[int], joined: bool = False, contiguous: bool = True) -> None:
        """Prepare for a batch of blocks of these sizes; the views of each batch are made once and kept.

        After that ``blocks`` are the arrays of each block, and ``runs`` the same, or, `joined`, one for all of them.
        `contiguous` says that neither its inputs nor its outputs are parts of wider arrays.
        """
        key = tuple(sizes), joined
        if key not in self._made:
            self._made[key] = self._make(*key)
        self.blocks, self.runs, self._plains = self._made[key]
        self.outputs = [block.output_with_ones for block in self.blocks]
        self.outputs_of_runs = [run.output_with_ones for run in self.runs]
        # dot, 0.7 µs faster, would copy what is not contiguous; the method is 0.2 µs faster than the function
        self.product = np.ndarray.dot if contiguous and not self.is_sample_major else np.matmul

    def _make(self, sizes: tuple[int, ...], joined: bool) -> tuple[list[Block], list[Block], list[Plain]]:
        if not joined:
            made = [self._block(buffers, b) for buffers, b in zip(self._buffers, sizes, strict=False)]
            blocks = [block for block, _ in made]
            return blocks, blocks, [plain for _, plain in made]
        whole, plain = self._block(self._joined, sum(sizes))
        places = [slice(end - b, end) for b, end in zip(sizes, accumulate(sizes), strict=True)]
        return [whole.columns(place) for place in places], [whole], [plain]

    def _block(self, buffers: list[Buffer | SampleMajor], b: int) -> tuple[Block, Plain]:
        outputs, deltas, masks, slopes = buffers
        output = outputs.view(b)
        delta = deltas.view(b) if self._is_last else output
        mask = masks.view(b) if self._drops else output
        block = Block(output.body, output.with_ones, delta.body, delta.body.T, mask.body)
        return block, Plain(output.plain, delta.plain, mask.plain, slopes.view(b).plain)

    def draw_mask(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which outputs of the samples in `columns` of a block the next forward pass keeps."""
        mask = self.blocks[block].mask[:, columns]
        scratch = self._buffers[block][0].view(mask.shape[1]).plain.reshape(-1)  # of the output, which is written later
        uniform = scratch[: mask.size].reshape(mask.shape)
        generator.random(out=uniform, dtype=uniform.dtype.type)
        np.less(uniform, self._keep, out=uniform, casting="unsafe")
        np.divide(uniform, self._keep, out=mask)  # the one pass over both orders of memory

    def product_with_weights(self) -> Any:
        """The function (inputs, out) that writes ``Wᵀ H + b``, for inputs that are others in each step."""
        return self._transposed.dot if self.product is np.ndarray.dot else partial(np.matmul, self._transposed)

    def products(self, inputs: list[Array]) -> list[Call]:
        """From the inputs of each of the ``runs``, shape (1 + fan_in, b), to ``Wᵀ H + b``."""
        return [partial(self.product, self._transposed, x, r.output) for x, r in zip(inputs, self.runs, strict=True)]

    def activation(self, training: bool) -> list[Call]:
        """From there to the outputs."""
        calls = []
        for run, plain in zip(self.runs, self._plains, strict=True):
            calls += self._f(plain.output)
            if training and self._drops:
                calls.append(partial(np.multiply, plain.output, plain.mask, plain.output))
            if self.is_sample_major:
                calls.append(partial(run.output_with_ones[0].fill, 1))
        return calls

    def gradient(self, inputs: Array, block: int, out: Array, onto_zeros: bool = False) -> Call:
        """Write the sum gradient over the samples of a block, shape (1 + fan_in, fan_out), to `out`.

        `onto_zeros` says that `out` holds zeros whenever it is called.
        """
        delta = self.blocks[block].delta_transposed
        add = add_product(inputs, delta, out) if onto_zeros else None
        return add or partial(self.product, inputs, delta, out)

    def add_gradient(self, inputs: Array, block: int, total: Array, part: Array, at_once: bool) -> list[Call]:
        """Add what `gradient` writes to `total`: `at_once`, if BLAS can do that, or by way of `part`."""
        add = add_product(inputs, self.blocks[block].delta_transposed, total) if at_once else None
        return [add] if add else [self.gradient(inputs, block, part), partial(np.add, total, part, total)]

    def backward(self, below: "Dense", joined: bool = False, room: Array | None = None) -> list[Call]:
        """Hand the blocks' ``delta`` down to the layer `below`, in one product if `joined`, in place of its outputs.

        With `room`, for as many numbers, what lies sample by sample is computed there in the other order, and copied.
        """
        mine, lowers = (self.runs, below.runs) if joined else (self.blocks, below.blocks)
        before: list[Call] = []
        after: list[Call] = []
        for plain in below._plains:
            if below._drops:
                before.append(partial(np.multiply, plain.output, below._keep, plain.output))  # f' is of f, not f · mask
                after.append(partial(np.multiply, plain.delta, plain.mask, plain.delta))
            slope = below._f_slope(plain.output, plain.slope)
            before += slope
            if slope:
                after.append(multiply_by_slope(plain.delta, plain.slope))
        products: list[Call] = []
        for block, lower in zip(mine, lowers, strict=True):
            products += self._hand_down(block.delta, lower.delta, room if below.is_sample_major else None)
        return [*before, *products, *after]

    def _hand_down(self, delta: Array, out: Array, room: Array | None) -> list[Call]:
        """``out = W Δ``; with few weights there is less to spare than the copy takes."""
        if room is not None and self.parameters.size >= WIDE:
            product = room[: out.size].reshape(out.shape)
            if copy := transpose(product, out):
                return [partial(np.matmul, self._weight, delta, product), copy]
        return [partial(self.product, self._weight, delta, out)]
