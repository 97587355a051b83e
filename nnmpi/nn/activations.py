"""Activation functions, which work in place, and their derivatives, which are computed from the outputs.

A function here computes nothing yet. It returns calls with all arguments bound, which run in each step.
"""

from functools import cache, partial
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.nn.calls import Call

AT_ONCE = 1 << 14  # numbers that an elementwise function takes at once; the rest of the cache is for other arrays


@cache
def filled(number: int, count: int, dtype: np.dtype[Any]) -> Array:
    """Return an array of `count` times `number`. It is read-only: equal calls return the same array."""
    array = np.full(count, number, dtype)
    array.flags.writeable = False
    return array


def relu(z: Array) -> list[Call]:
    """``max(z, 0)``, in place. With an array of zeros NumPy takes a quarter of the time it takes with a single 0."""
    units, b = z.shape
    allowed = (rows for rows in range(1, units + 1) if units % rows == 0 and (rows == 1 or rows * b <= AT_ONCE))
    rows = max(allowed, default=1)
    zeros = filled(0, rows * b, z.dtype)
    if not z.flags.c_contiguous:
        raise ValueError("relu works in place and needs contiguous memory: reshape would copy other memory")
    z = z.reshape(-1 if rows == units else (units // rows, rows * b))
    return [partial(np.maximum, z, zeros, out=z)]


def relu_slope(h: Array, slope: Array) -> list[Call]:
    """``h > 0``, as booleans or as integers; see `slope_type`.

    Integers use the bits of `h`, read as an integer: at least 1 for a positive number, 0 for 0, and the smallest
    integer for -0. The slope is the minimum of that and 1. The bits of a gradient, multiplied by the slope, stay as
    they are or become those of 0 or -0. Integers take half the time of booleans, but more of the cache.
    """
    if slope.dtype == np.bool_:
        zero = np.zeros((), h.dtype)  # not the number 0: each call would convert it, for 0.4 µs
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


def sigmoid_slope(h: Array, slope: Array) -> list[Call]:
    """``h (1 - h)``."""
    return [partial(np.subtract, 1, h, slope), partial(np.multiply, slope, h, slope)]


def tanh(z: Array) -> list[Call]:
    """``tanh(z)``, in place."""
    return [partial(np.tanh, z, z)]


def tanh_slope(h: Array, slope: Array) -> list[Call]:
    """``1 - h²``."""
    return [partial(np.square, h, slope), partial(np.subtract, 1, slope, slope)]


def identity(z: Array) -> list[Call]:
    """``z``."""
    return []


def identity_slope(h: Array, slope: Array) -> list[Call]:
    """1: no multiplication is needed."""
    return []


# name → (f, its derivative); f works in place, the derivative goes from the output of f to an array of `slope_type`
ACTIVATIONS = {
    "relu": (relu, relu_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "tanh": (tanh, tanh_slope),
    "identity": (identity, identity_slope),
}


def slope_type(name: str, numbers: int, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype for the slope of an activation, for a block of `numbers` values of `dtype`.

    It is `dtype`, except for relu: integers of the same width for a small block, booleans for a larger one.
    """
    if name != "relu":
        return dtype
    return np.dtype(f"i{dtype.itemsize}" if numbers <= AT_ONCE else np.bool_)


def multiply_by_slope(delta: Array, slope: Array) -> Call:
    """``delta *= slope``. An integer slope multiplies the bits of `delta`."""
    values = delta.view(slope.dtype) if np.issubdtype(slope.dtype, np.integer) else delta
    return partial(np.multiply, values, slope, values)
