"""Activations and the dense layer.

Everything inside a network is *feature-major*: a batch of ``b`` samples is an array of shape ``(features, b)``.
Elementwise functions then work on contiguous memory, and sums over the classes run along rows. Each array that
feeds a layer starts with a row of ones, so that the bias is row 0 of the layer's parameters and forward and
backward need one matrix product each for weights and bias together.

A batch comes in one or more *blocks* of samples, each with arrays of its own, so that the bits of a block depend on
nothing but the block. A layer goes through all blocks before the next layer's turn, because its weights then stay in
the cache.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


ZERO = np.zeros((), np.float32)  # the number 0 would be converted anew by each call, for 0.4 µs


def relu(z: Array, zeros: Array) -> None:
    """``max(z, 0)``, in place. With an array of zeros NumPy takes a quarter of the time that it takes with one 0."""
    np.maximum(z, zeros, out=z)


def relu_backward(h: Array, delta: Array, positive: Mask) -> None:
    """``delta *= h > 0``. Not by ``np.sign``, which branches and takes six times as long on real activations."""
    np.greater(h, ZERO, out=positive)
    np.multiply(delta, positive, out=delta)


def sigmoid(z: Array, zeros: Array | None = None) -> None:
    """``1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2``, in place; the second form cannot overflow."""
    np.multiply(z, 0.5, out=z)
    np.tanh(z, out=z)
    np.multiply(z, 0.5, out=z)
    np.add(z, 0.5, out=z)


def sigmoid_backward(h: Array, delta: Array, scratch: Mask) -> None:
    """``delta *= h (1 - h)``; `h` is used up."""
    np.multiply(delta, h, out=delta)
    np.subtract(1, h, out=h)
    np.multiply(delta, h, out=delta)


def tanh(z: Array, zeros: Array) -> None:
    """``tanh(z)``, in place."""
    np.tanh(z, out=z)


def tanh_backward(h: Array, delta: Array, scratch: Mask) -> None:
    """``delta *= 1 - h²``; `h` is used up."""
    np.square(h, out=h)
    np.subtract(1, h, out=h)
    np.multiply(delta, h, out=delta)


def identity(z: Array, zeros: Array) -> None:
    """``z``."""


def identity_backward(h: Array, delta: Array, scratch: Mask) -> None:
    """``delta *= 1``."""


# name → (f in place, given an array of zeros; the backward pass through f from its own output, with a scratch array of
# booleans)
ACTIVATIONS: dict[str, tuple[Callable[[Array, Array], None], Callable[[Array, Array, Mask], None]]] = {
    "relu": (relu, relu_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "identity": (identity, identity_backward),
}


class Buffer:
    """Arrays of shape ``(rows, b)`` for any ``b <= max_batch`` over one piece of memory.

    With `ones` the arrays have a row of ones on top. The ones lie before position `max_batch` and the rest behind
    it, whatever ``b`` is, so that they are written once and batches of every size can follow each other.
    """

    def __init__(self, rows: int, max_batch: int, dtype: npt.DTypeLike, ones: bool = False) -> None:
        self._memory: npt.NDArray[Any] = np.zeros((rows + ones) * max_batch, dtype)
        self._ones = max_batch if ones else 0
        self._memory[: self._ones] = 1
        self._rows = rows

    def view(self, b: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The array without and with its row of ones, shapes ``(rows, b)`` and ``(1 + rows, b)``."""
        body = self._memory[self._ones : self._ones + self._rows * b].reshape(self._rows, b)
        if not self._ones:
            return body, body
        return body, self._memory[self._ones - b : self._ones + self._rows * b].reshape(1 + self._rows, b)


class Block(NamedTuple):
    """A layer's arrays for one block of ``b`` samples."""

    output: Array  # (fan_out, b)
    output_with_ones: Array  # (1 + fan_out, b)
    delta: Array  # (fan_out, b), the gradient of the layer's products
    delta_transposed: Array
    mask: Array  # (fan_out, b), of dropout
    positive: Mask  # (fan_out, b), scratch
    zeros: Array  # (fan_out, b)


class Dense:
    """One layer ``f(Wᵀ H + b)``; owns its activations and their gradient, borrows its parameters.

    Parameters
    ----------
    parameters : array, shape (1 + fan_in, fan_out)
        The bias in row 0, then the weight; a view into the network's flat vector.
    activation : str
        A name in `ACTIVATIONS`; the output layer passes ``identity``, its loss does the rest.
    max_block : int
        The largest number of samples in a block.
    max_blocks : int
        The largest number of blocks in a batch.
    dropout : float
        The part of the outputs that training sets to zero; the others are multiplied by ``1 / (1 - dropout)``
        (inverted dropout, Srivastava et al. 2014), so that nothing changes for evaluation.
    """

    def __init__(
        self, parameters: Array, activation: str, max_block: int, max_blocks: int = 1, dropout: float = 0.0
    ) -> None:
        self.fan_in, self.fan_out = parameters.shape[0] - 1, parameters.shape[1]
        self._transposed = parameters.T  # (fan_out, 1 + fan_in)
        self._weight = parameters[1:]  # (fan_in, fan_out)
        self._f, self._f_backward = ACTIVATIONS[activation]
        dtype = parameters.dtype
        self._keep = dtype.type(1.0 - dropout)
        self._drops = dropout > 0
        self._buffers = [
            (
                Buffer(self.fan_out, max_block, dtype, ones=True),
                Buffer(self.fan_out, max_block, dtype),
                Buffer(self.fan_out, max_block if dropout else 0, dtype),
                Buffer(self.fan_out, max_block, np.bool_),
            )
            for _ in range(max_blocks)
        ]
        self._zeros = Buffer(self.fan_out, max_block, dtype)
        self._blocks: dict[tuple[int, int], Block] = {}
        self.blocks: list[Block] = []
        self.outputs: list[Array] = []  # of the blocks, with ones on top

    def resize(self, sizes: list[int]) -> None:
        """Prepare for a batch of blocks of these sizes; the views of each size are made once and kept."""
        self.blocks = [self._blocks.get(key) or self._make(*key) for key in enumerate(sizes)]
        self.outputs = [block.output_with_ones for block in self.blocks]

    def _make(self, block: int, b: int) -> Block:
        output, delta, mask, positive = self._buffers[block]
        d = delta.view(b)[0]
        m = mask.view(b)[0] if self._drops else d
        made = Block(*output.view(b), d, d.T, m, positive.view(b)[0], self._zeros.view(b)[0])
        self._blocks[block, b] = made
        return made

    def draw_mask(self, block: int, columns: slice, generator: np.random.Generator) -> None:
        """Draw which outputs of the samples in `columns` of a block the next forward pass keeps."""
        mask = self.blocks[block].mask[:, columns]
        scratch = self.blocks[block].delta.reshape(-1)  # delta is written later
        uniform = scratch[: mask.size].reshape(mask.shape)
        generator.random(out=uniform, dtype=uniform.dtype.type)
        np.less(uniform, self._keep, out=mask, casting="unsafe")
        np.divide(mask, self._keep, out=mask)

    def forward(self, inputs: list[Array], training: bool) -> list[Array]:
        """From the blocks of inputs, each of shape (1 + fan_in, b), to those of outputs with ones on top."""
        for x, block in zip(inputs, self.blocks, strict=True):
            np.dot(self._transposed, x, out=block.output)  # matmul takes 0.7 µs longer
            self._f(block.output, block.zeros)
            if training and self._drops:
                np.multiply(block.output, block.mask, out=block.output)
        return self.outputs

    def gradient(self, inputs: list[Array], block: int, out: Array) -> None:
        """Write the sum gradient over the samples of a block, shape (1 + fan_in, fan_out), to `out`."""
        np.dot(inputs[block], self.blocks[block].delta_transposed, out=out)

    def backward(self, below: "Dense") -> None:
        """Hand the blocks' ``delta`` down to the layer `below`; uses up its outputs."""
        for block, lower in zip(self.blocks, below.blocks, strict=True):
            np.dot(self._weight, block.delta, out=lower.delta)
            if below._drops:
                np.multiply(lower.delta, lower.mask, out=lower.delta)
                np.multiply(lower.output, below._keep, out=lower.output)  # f' is a function of f, not of f · mask
            below._f_backward(lower.output, lower.delta, lower.positive)
