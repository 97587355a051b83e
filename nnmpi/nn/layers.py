"""Activations and the dense layer.

Everything inside a network is *feature-major*: a batch of ``b`` samples is an array of shape ``(features, b)``.
Elementwise functions then work on contiguous memory, and sums over the classes run along rows. Each array that
feeds a layer starts with a row of ones, so that the bias is row 0 of the layer's parameters and forward and
backward need one matrix product each for weights and bias together.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


def relu(z: Array) -> None:
    """``max(z, 0)``, in place."""
    np.maximum(z, 0, out=z)


def relu_backward(h: Array, delta: Array) -> None:
    """``delta *= 1 where h > 0``; `h` is used up."""
    np.sign(h, out=h)
    np.multiply(delta, h, out=delta)


def sigmoid(z: Array) -> None:
    """``1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2``, in place; the second form cannot overflow."""
    np.multiply(z, 0.5, out=z)
    np.tanh(z, out=z)
    np.multiply(z, 0.5, out=z)
    np.add(z, 0.5, out=z)


def sigmoid_backward(h: Array, delta: Array) -> None:
    """``delta *= h (1 - h)``; `h` is used up."""
    np.multiply(delta, h, out=delta)
    np.subtract(1, h, out=h)
    np.multiply(delta, h, out=delta)


def tanh(z: Array) -> None:
    """``tanh(z)``, in place."""
    np.tanh(z, out=z)


def tanh_backward(h: Array, delta: Array) -> None:
    """``delta *= 1 - h²``; `h` is used up."""
    np.square(h, out=h)
    np.subtract(1, h, out=h)
    np.multiply(delta, h, out=delta)


def identity(z: Array) -> None:
    """``z``."""


def identity_backward(h: Array, delta: Array) -> None:
    """``delta *= 1``."""


# name → (f in place, the backward pass through f from its own output)
ACTIVATIONS: dict[str, tuple[Callable[[Array], None], Callable[[Array, Array], None]]] = {
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
        self._memory: Array = np.zeros((rows + ones) * max_batch, dtype)
        self._ones = max_batch if ones else 0
        self._memory[: self._ones] = 1
        self._rows = rows

    def view(self, b: int) -> tuple[Array, Array]:
        """The array without and with its row of ones, shapes ``(rows, b)`` and ``(1 + rows, b)``."""
        body = self._memory[self._ones : self._ones + self._rows * b].reshape(self._rows, b)
        if not self._ones:
            return body, body
        return body, self._memory[self._ones - b : self._ones + self._rows * b].reshape(1 + self._rows, b)


class Dense:
    """One layer ``f(Wᵀ H + b)``; owns its activations and their gradient, borrows its parameters.

    Parameters
    ----------
    parameters : array, shape (1 + fan_in, fan_out)
        The bias in row 0, then the weight; a view into the network's flat vector.
    activation : str
        A name in `ACTIVATIONS`; the output layer passes ``identity``, its loss does the rest.
    max_batch : int
        The largest number of samples it will be given.
    dropout : float
        The part of the outputs that training sets to zero; the others are multiplied by ``1 / (1 - dropout)``
        (inverted dropout, Srivastava et al. 2014), so that nothing changes for evaluation.
    """

    def __init__(self, parameters: Array, activation: str, max_batch: int, dropout: float = 0.0) -> None:
        self.fan_in, self.fan_out = parameters.shape[0] - 1, parameters.shape[1]
        self._transposed = parameters.T  # (fan_out, 1 + fan_in)
        self._weight = parameters[1:]  # (fan_in, fan_out)
        self._f, self._f_backward = ACTIVATIONS[activation]
        dtype = parameters.dtype
        self._output = Buffer(self.fan_out, max_batch, dtype, ones=True)
        self._delta = Buffer(self.fan_out, max_batch, dtype)
        self._keep = dtype.type(1.0 - dropout)
        self._mask = Buffer(self.fan_out, max_batch, dtype) if dropout else None
        self._views: dict[int, tuple[Array, ...]] = {}
        self.resize(0)

    def resize(self, b: int) -> None:
        """Point all arrays at a batch of `b` samples; the views of each size are made once and kept."""
        if b not in self._views:
            delta = self._delta.view(b)[0]
            mask = self._mask.view(b)[0] if self._mask else delta
            self._views[b] = (*self._output.view(b), delta, delta.T, mask)
        self.output, self.output_with_ones, self.delta, self._delta_transposed, self.mask = self._views[b]

    def draw_mask(self, columns: slice, generator: np.random.Generator) -> None:
        """Draw which outputs of the samples in `columns` the next forward pass keeps."""
        mask = self.mask[:, columns]
        uniform = self.delta.reshape(-1)[: mask.size].reshape(mask.shape)  # scratch: delta is written later
        generator.random(out=uniform, dtype=uniform.dtype.type)
        np.less(uniform, self._keep, out=mask, casting="unsafe")
        np.divide(mask, self._keep, out=mask)

    def forward(self, inputs: Array, training: bool) -> None:
        """From `inputs`, shape (1 + fan_in, b), to ``self.output``, shape (fan_out, b)."""
        np.matmul(self._transposed, inputs, out=self.output)
        self._f(self.output)
        if training and self._mask is not None:
            np.multiply(self.output, self.mask, out=self.output)

    def gradient(self, inputs: Array, out: Array) -> None:
        """Write the sum gradient of the parameters, shape (1 + fan_in, fan_out), to `out`."""
        np.matmul(inputs, self._delta_transposed, out=out)

    def backward(self, below: "Dense") -> None:
        """Hand ``self.delta`` down to ``below.delta``; uses up ``below.output``."""
        np.matmul(self._weight, self.delta, out=below.delta)
        if below._mask is not None:
            np.multiply(below.delta, below.mask, out=below.delta)
            np.multiply(below.output, below._keep, out=below.output)  # f' is a function of f, not of f · mask
        below._f_backward(below.output, below.delta)
