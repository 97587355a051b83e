"""The dense layer.

All arrays inside a network are *feature-major*: a batch of ``b`` samples has the shape ``(features, b)``. Elementwise
functions then work on contiguous memory, and a sum over the classes adds whole rows. The input of a layer starts with a
row of ones, and row 0 of the layer's parameters is the bias. So weights and bias together need one matrix product
forward and one backward.

A batch consists of one or more *blocks* of samples. Each block has its own arrays and its own products, so that its
bits do not depend on other blocks. A layer computes all blocks before the next layer begins: its weights then stay in
the cache.

Functions here return *bound calls*: NumPy functions with all their arguments, made once for each batch size. A step
only runs the list. With few samples, looking up arrays and layers would take a fifth of a step.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nnmpi.arrays import Array
from nnmpi.nn.activations import ACTIVATIONS, multiply_by_slope, slope_type
from nnmpi.nn.buffers import Buffer
from nnmpi.nn.calls import Call

# 0.7 µs faster than np.matmul, and 0.2 µs faster than the function np.dot; all arrays are contiguous or transposed
multiply: Any = np.ndarray.dot


class Block(NamedTuple):
    """A layer's arrays for one block of ``b`` samples."""

    output: Array  # (fan_out, b)
    output_with_ones: Array  # (1 + fan_out, b)
    delta: Array  # (fan_out, b), the gradient of the layer's products; in a hidden layer in the memory of the output
    delta_transposed: Array
    mask: Array  # (fan_out, b), the mask of dropout
    slope: Array  # (fan_out, b), the derivative of the activation


class Dense:
    """One layer ``f(Wᵀ H + b)``. It owns its outputs and their gradient, and borrows its parameters.

    In the backward pass, the gradient of a hidden layer overwrites the outputs, which are no longer needed then.

    Parameters
    ----------
    parameters : array, shape (1 + fan_in, fan_out)
        The bias in row 0, then the weights; a view of the network's flat vector.
    activation : str or None
        A name in `ACTIVATIONS`. None for the output layer: the loss applies its activation, and needs both outputs and
        gradient at the same time.
    max_block : int
        The largest number of samples in a block.
    max_blocks : int
        The largest number of blocks in a batch.
    dropout : float
        The fraction of the outputs that training sets to zero. The others are multiplied by ``1 / (1 - dropout)``
        (inverted dropout, Srivastava et al. 2014), so that evaluation needs no change.
    """

    def __init__(
        self,
        parameters: Array,
        activation: str | None,
        max_block: int,
        max_blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        self.fan_out = parameters.shape[1]
        self._transposed = parameters.T  # (fan_out, 1 + fan_in)
        self._weight = parameters[1:]  # (fan_in, fan_out)
        self._is_last = activation is None
        self._activation = activation or "identity"
        self._f, self._f_slope = ACTIVATIONS[self._activation]
        self._keep = parameters.dtype.type(1.0 - dropout)
        self._has_dropout = dropout > 0
        self._buffers = [self._allocate(max_block) for _ in range(max_blocks)]
        self._blocks: dict[tuple[int, ...], list[Block]] = {}  # by the sizes of the blocks

    def _allocate(self, size: int) -> tuple[Buffer, Buffer, Buffer, Buffer]:
        """Allocate outputs, their gradient, mask and slope. Memory that is never touched costs nothing."""
        dtype, units = self._weight.dtype, self.fan_out
        return (
            Buffer(units, size, dtype, ones=True),
            Buffer(units, size if self._is_last else 0, dtype),
            Buffer(units, size if self._has_dropout else 0, dtype),
            Buffer(units, size, slope_type(self._activation, units * size, dtype)),
        )

    def resize(self, sizes: Sequence[int]) -> None:
        """Set ``blocks`` to the arrays for a batch with blocks of these sizes."""
        key = tuple(sizes)
        if key not in self._blocks:
            self._blocks[key] = [self._block(i, b) for i, b in enumerate(key)]
        self.blocks = self._blocks[key]
        self.outputs = [block.output_with_ones for block in self.blocks]

    def _block(self, i: int, b: int) -> Block:
        outputs, deltas, masks, slopes = self._buffers[i]
        output = outputs.view(b)
        delta = deltas.view(b) if self._is_last else output
        mask = masks.view(b) if self._has_dropout else output
        return Block(output, outputs.view_with_ones(b), delta, delta.T, mask, slopes.view(b))

    def draw_mask(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw the mask of dropout in the next forward pass, for the samples in `columns` of a block."""
        mask = self.blocks[block].mask[:, columns]
        uniform = self._buffers[block][0].view(mask.shape[1])  # memory of the output, which is computed later
        generator.random(out=uniform, dtype=uniform.dtype.type)
        np.less(uniform, self._keep, out=uniform, casting="unsafe")
        np.divide(uniform, self._keep, out=mask)

    def products(self, inputs: list[Array]) -> list[Call]:
        """Compute ``Wᵀ H + b`` of each block from its inputs, shape (1 + fan_in, b)."""
        return [partial(multiply, self._transposed, x, b.output) for x, b in zip(inputs, self.blocks, strict=True)]

    def activation(self, training: bool) -> list[Call]:
        """Compute the outputs from the products, in place; in training with dropout."""
        calls = []
        for block in self.blocks:
            calls += self._f(block.output)
            if training and self._has_dropout:
                calls.append(partial(np.multiply, block.output, block.mask, block.output))
        return calls

    def gradient(self, inputs: Array, block: int, out: Array) -> Call:
        """Write the sum gradient over the samples of a block, shape (1 + fan_in, fan_out), to `out`."""
        return partial(multiply, inputs, self.blocks[block].delta_transposed, out)

    def backward(self, below: "Dense") -> list[Call]:
        """Compute the ``delta`` of the layer `below` from that of this layer; it overwrites the outputs of `below`."""
        before: list[Call] = []
        products: list[Call] = []
        after: list[Call] = []
        for block, lower in zip(self.blocks, below.blocks, strict=True):
            if below._has_dropout:
                before.append(partial(np.multiply, lower.output, below._keep, lower.output))  # f' needs f, not f · mask
                after.append(partial(np.multiply, lower.delta, lower.mask, lower.delta))
            slope = below._f_slope(lower.output, lower.slope)
            before += slope
            products.append(partial(multiply, self._weight, block.delta, lower.delta))
            if slope:
                after.append(multiply_by_slope(lower.delta, lower.slope))
        return [*before, *products, *after]
