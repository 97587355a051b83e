"""What NumPy's BLAS can do and NumPy has no call for: sums of a product, or of a multiple, and what is there."""

import ctypes
import functools
import importlib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Call = Callable[[], object]
Number = ctypes.c_float | ctypes.c_double

ROW_MAJOR, AS_IT_IS, TRANSPOSED = 101, 111, 112  # of CBLAS
ONE = ctypes.c_int64(1)
_linked_with_blas = importlib.import_module("numpy._core._multiarray_umath").__file__


def library() -> ctypes.CDLL:
    """What NumPy is linked with, its BLAS among it."""
    return ctypes.CDLL(_linked_with_blas)


@functools.cache
def _function(name: str, dtype: np.dtype[Any]) -> Any:
    """A function of the OpenBLAS that NumPy's own wheels bring; None where NumPy has another BLAS.

    Its arguments have to be ctypes' objects: to convert numbers in each call would take as long as a small product.
    """
    letter = dtype.char.replace("f", "s")
    function = getattr(library(), f"scipy_cblas_{letter}{name}64_", None)
    if function:
        function.restype = None
    return function


def number(dtype: np.dtype[Any], value: float = 0.0) -> Number:
    """A factor for the functions below; its ``value`` may change between two calls."""
    return ctypes.c_float(value) if dtype.itemsize == 4 else ctypes.c_double(value)


def axpy(a: Number, x: Array, y: Array) -> Call:
    """The call of ``y += a x``, of contiguous vectors that must live as long as it does."""
    function = _function("axpy", y.dtype)
    return functools.partial(function, ctypes.c_int64(y.size), a, _at(x), ONE, _at(y), ONE)


def axpby(a: Number, x: Array, b: Number, y: Array) -> Call:
    """The call of ``y = a x + b y``, likewise."""
    function = _function("axpby", y.dtype)
    return functools.partial(function, ctypes.c_int64(y.size), a, _at(x), ONE, b, _at(y), ONE)


def fingerprint(dtype: npt.DTypeLike) -> bytes:
    """What `axpy` and `axpby` make of some numbers; nothing where they are not to be had, or not to be trusted.

    Their last digits depend on the processor. Processors that agree here agree everywhere, provided that it does not
    matter where in memory the numbers are, nor how many stand before them: that is tried, too.
    """
    kind: np.dtype[Any] = np.dtype(dtype)
    if not (_function("axpy", kind) and _function("axpby", kind)):
        return b""
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal((2, 200)).astype(kind)
    a, b = number(kind, 0.3), number(kind, 0.7)
    found = set()
    for start, cut in itertools.product(range(17), (0, 33)):
        room = np.zeros((2, 200 + 17), kind)
        x, y = (row[start : start + 200] for row in room)
        x[:], y[:] = numbers
        for part in (slice(0, cut), slice(cut, 200)):
            axpy(a, x[part], y[part])()
            axpby(b, x[part], a, y[part])()
        found.add(y.tobytes())
    x, y = numbers.astype(np.float64)
    right = np.allclose(np.frombuffer(next(iter(found)), kind), 0.7 * x + 0.3 * (y + 0.3 * x), rtol=1e-5, atol=1e-6)
    return found.pop() if len(found) == 1 and right else b""


def add_product(a: Array, b: Array, total: Array) -> Callable[..., None] | None:
    """The function that does ``total += a @ b`` in one pass over `total`; None where it cannot be had, and for vectors.

    It takes any `a` of the same shape and strides, and no notice of further arguments, so that it can stand where
    ``np.ndarray.dot`` would. Matrices of float32 or float64 that are contiguous along one of their axes, `total` along
    its rows; `b` and `total` must live as long as the function does.

    Whether the sum has the bits of ``total + (a @ b)`` depends on how BLAS adds up: where all terms fit into one block
    it does. On zeros it has those of ``a @ b``, but for the sign of a zero.
    """
    gemm = _function("gemm", total.dtype)
    if gemm is None or min(*a.shape, b.shape[1]) < 2:
        return None
    size = total.itemsize
    sides = []
    for matrix in (a, b):
        down, across = matrix.strides
        order, step = (AS_IT_IS, down) if across == size else (TRANSPOSED, across)
        sides.append((ctypes.c_int(order), _at(matrix), ctypes.c_int64(step // size)))
    (a_order, a_at, a_step), (b_order, b_at, b_step) = sides
    m, k, n = (ctypes.c_int64(length) for length in (*a.shape, b.shape[1]))
    one, step_of_total = number(total.dtype, 1), ctypes.c_int64(total.strides[0] // size)
    orders = ctypes.c_int(ROW_MAJOR), a_order, b_order
    numbers = a_at, a_step, b_at, b_step, one, _at(total), step_of_total
    call, expected = functools.partial(gemm, *orders, m, n, k, one, *numbers), (a.shape, a.strides)

    def add(a: Array, *_: Any) -> None:
        if (a.shape, a.strides) != expected:
            raise ValueError(f"shape and strides are {a.shape}, {a.strides}, not {expected}")
        a_at.value = a.ctypes.data
        call()

    return add


def _at(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
