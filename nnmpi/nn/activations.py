"""Activations: what follows a layer's products, in place, and its derivative from its own output.

Like all that a batch makes a network do they are not done at once: a function returns calls with all arguments bound.
"""

from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.nn.arrays import Array, Call

Whole = npt.NDArray[np.integer]
Slope = Array | Whole | npt.NDArray[np.bool_]

FEW = 1 << 14  # numbers that elementwise functions take at once; they leave enough of the cache to others


@cache
def filled(number: int, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """`count` times the same number; one array for all who ask, who only read it."""
    found = np.full(count, number, dtype)
    found.flags.writeable = False
    return found


def relu(z: Array) -> list[Call]:
    """``max(z, 0)``, in place. With an array of zeros NumPy takes a quarter of the time that it takes with one 0."""
    units, b = z.shape
    fitting = (rows for rows in range(1, units + 1) if units % rows == 0 and (rows == 1 or rows * b <= FEW))
    at_once = max(fitting, default=1)
    zeros = filled(0, at_once * b, z.dtype)
    if not z.flags.c_contiguous:
        raise ValueError("relu is in place: reshape would copy memory that is not contiguous")
    z = z.reshape(-1 if at_once == units else (units // at_once, at_once * b))
    return [partial(np.maximum, z, zeros, out=z)]


def relu_slope(h: Array, slope: Slope) -> list[Call]:
    """``h > 0``.

    With booleans it is just that. With whole numbers: the bits of a positive number are one from 1 on, those of 0 are 0
    and those of -0 the least there is; times 1 bits stay as they are, times the others they become 0 or -0. That takes
    half of the time, but also more of the cache.
    """
    if slope.dtype == np.bool_:
        zero = np.zeros((), h.dtype)  # the number 0 would be converted anew by each call, for 0.4 µs
        return [partial(np.greater, h, zero, slope)]
    ones = filled(1, h.size, slope.dtype).reshape(h.shape)
    return [partial(np.minimum, h.view(slope.dtype), ones, out=slope)]


def squash(z: Array) -> None:
    """``1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2``, in place; the second form cannot overflow."""
    np.multiply(z, 0.5, out=z)
    np.tanh(z, out=z)
    np.multiply(z, 0.5, out=z)
    np.add(z, 0.5, out=z)


def sigmoid(z: Array) -> list[Call]:
    """``1 / (1 + exp(-z))``, in place."""
    return [partial(squash, z)]


def sigmoid_slope(h: Array, slope: Slope) -> list[Call]:
    """``h (1 - h)``."""
    return [partial(np.subtract, 1, h, slope), partial(np.multiply, slope, h, slope)]


def tanh(z: Array) -> list[Call]:
    """``tanh(z)``, in place."""
    return [partial(np.tanh, z, z)]


def tanh_slope(h: Array, slope: Slope) -> list[Call]:
    """``1 - h²``."""
    return [partial(np.square, h, slope), partial(np.subtract, 1, slope, slope)]


def identity(z: Array) -> list[Call]:
    """``z``."""
    return []


def identity_slope(h: Array, slope: Slope) -> list[Call]:
    """1, by which nothing needs to be multiplied."""
    return []


# name → (the calls of f, in place; those of its derivative from its own output: into floating numbers, or with relu
# into booleans or whole numbers as wide as the floating ones)
ACTIVATIONS = {
    "relu": (relu, relu_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "tanh": (tanh, tanh_slope),
    "identity": (identity, identity_slope),
}


def slope_type(name: str, numbers: int, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """As what the slope of an activation is kept, of a block of so many `numbers` of `dtype`."""
    if name != "relu":
        return dtype
    return np.dtype(f"i{dtype.itemsize}" if numbers <= FEW else np.bool_)


def multiply_by_slope(delta: Array, slope: Slope) -> Call:
    """``delta *= slope``; by whole numbers its bits are multiplied."""
    change = delta.view(slope.dtype) if np.issubdtype(slope.dtype, np.integer) else delta
    return partial(np.multiply, change, slope, change)
