"""The dense layer.

Everything inside a network is *feature-major*: a batch of ``b`` samples is an array of shape ``(features, b)``.
Elementwise functions then work on contiguous memory, and sums over the classes run along rows. Each array that feeds a
layer starts with a row of ones, so that the bias is row 0 of the layer's parameters and forward and backward need one
matrix product each for weights and bias together.

A batch comes in one or more *blocks* of samples, whose bits depend on nothing but the block: each has arrays and
products of its own. A layer goes through all blocks before the next layer's turn, because its weights then stay in the
cache.

Functions here return *bound calls*: NumPy's functions with all their arguments, made once for each size of a batch. A
step only goes through the list. With few samples, looking up arrays and layers would take a fifth of a step.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nnmpi.nn.activations import ACTIVATIONS, Slope, multiply_by_slope, slope_type
from nnmpi.nn.arrays import Array, Call
from nnmpi.nn.buffers import Buffer

# 0.7 µs faster than np.matmul, and 0.2 µs faster than the function np.dot; all arrays are contiguous, or transposes
multiply: Any = np.ndarray.dot


class Block(NamedTuple):
    """A layer's arrays for one block of ``b`` samples."""

    output: Array  # (fan_out, b)
    output_with_ones: Array  # (1 + fan_out, b)
    delta: Array  # (fan_out, b), the gradient of the layer's products; in a hidden layer the memory of the output
    delta_transposed: Array
    mask: Array  # (fan_out, b), of dropout
    slope: Slope  # (fan_out, b), the derivative of the activation


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
    """

    def __init__(
        self,
        parameters: Array,
        activation: str | None,
        max_block: int,
        max_blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        self.parameters = parameters
        self.fan_in, self.fan_out = parameters.shape[0] - 1, parameters.shape[1]
        self._transposed = parameters.T  # (fan_out, 1 + fan_in)
        self._weight = parameters[1:]  # (fan_in, fan_out)
        self._is_last = activation is None
        self._activation = activation or "identity"
        self._f, self._f_slope = ACTIVATIONS[self._activation]
        self._keep = parameters.dtype.type(1.0 - dropout)
        self._drops = dropout > 0
        self._buffers = [self._allocate(max_block) for _ in range(max_blocks)]
        self._blocks: dict[tuple[int, ...], list[Block]] = {}  # of each size of a batch

    def _allocate(self, size: int) -> tuple[Buffer, Buffer, Buffer, Buffer]:
        """The memory of outputs, their gradient, mask and slope; what is not used is not touched, and costs nothing."""
        dtype, units = self._weight.dtype, self.fan_out
        return (
            Buffer(units, size, dtype, ones=True),
            Buffer(units, size if self._is_last else 0, dtype),
            Buffer(units, size if self._drops else 0, dtype),
            Buffer(units, size, slope_type(self._activation, units * size, dtype)),
        )

    def resize(self, sizes: Sequence[int]) -> None:
        """Let ``blocks`` be the arrays for a batch of blocks of these sizes."""
        key = tuple(sizes)
        if key not in self._blocks:
            self._blocks[key] = [self._block(i, b) for i, b in enumerate(key)]
        self.blocks = self._blocks[key]
        self.outputs = [block.output_with_ones for block in self.blocks]

    def _block(self, i: int, b: int) -> Block:
        outputs, deltas, masks, slopes = self._buffers[i]
        output = outputs.view(b)
        delta = deltas.view(b) if self._is_last else output
        mask = masks.view(b) if self._drops else output
        return Block(output, outputs.view_with_ones(b), delta, delta.T, mask, slopes.view(b))

    def draw_mask(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which outputs of the samples in `columns` of a block the next forward pass keeps."""
        mask = self.blocks[block].mask[:, columns]
        uniform = self._buffers[block][0].view(mask.shape[1])  # of the output, which is written later
        generator.random(out=uniform, dtype=uniform.dtype.type)
        np.less(uniform, self._keep, out=uniform, casting="unsafe")
        np.divide(uniform, self._keep, out=mask)

    def products(self, inputs: list[Array]) -> list[Call]:
        """From the inputs of each block, shape (1 + fan_in, b), to ``Wᵀ H + b``."""
        return [partial(multiply, self._transposed, x, b.output) for x, b in zip(inputs, self.blocks, strict=True)]

    def activation(self, training: bool) -> list[Call]:
        """From there to the outputs."""
        calls = []
        for block in self.blocks:
            calls += self._f(block.output)
            if training and self._drops:
                calls.append(partial(np.multiply, block.output, block.mask, block.output))
        return calls

    def gradient(self, inputs: Array, block: int, out: Array) -> Call:
        """Write the sum gradient over the samples of a block, shape (1 + fan_in, fan_out), to `out`."""
        return partial(multiply, inputs, self.blocks[block].delta_transposed, out)

    def backward(self, below: "Dense") -> list[Call]:
        """Hand the blocks' ``delta`` down to the layer `below`, in place of its outputs."""
        before: list[Call] = []
        products: list[Call] = []
        after: list[Call] = []
        for block, lower in zip(self.blocks, below.blocks, strict=True):
            if below._drops:
                before.append(partial(np.multiply, lower.output, below._keep, lower.output))  # f' is of f, not f · mask
                after.append(partial(np.multiply, lower.delta, lower.mask, lower.delta))
            slope = below._f_slope(lower.output, lower.slope)
            before += slope
            products.append(partial(multiply, self._weight, block.delta, lower.delta))
            if slope:
                after.append(multiply_by_slope(lower.delta, lower.slope))
        return [*before, *products, *after]
