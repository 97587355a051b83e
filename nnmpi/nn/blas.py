"""What NumPy's BLAS can do and NumPy has no call for, or a slow one.

That is two vectors changed in one pass, a product added to a matrix, and a copy into the other order of memory.
"""

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

ROW_MAJOR, AS_IT_IS, TRANSPOSED = 101, 111, 112  # of CBLAS
ONE = ctypes.c_int64(1)
_linked_with_blas = importlib.import_module("numpy._core._multiarray_umath").__file__


class At(ctypes.c_void_p):
    """Where an array is, which lives as long as this; NumPy's own ``data_as`` would leave cycles for the collector."""

    def __init__(self, array: Array) -> None:
        super().__init__(array.ctypes.data)
        self.array = array


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


def factors(dtype: np.dtype[Any]) -> Any:
    """For `rotm`: numbers at the places 1 to 4, which may change between two calls."""
    return (5 * _number(dtype))(-1)


def rotm(x: Array, y: Array, by: Any) -> Call:
    """The call of ``x, y = by[1] x + by[3] y, by[2] x + by[4] y`` in one pass over both; `by` are `factors`.

    The vectors must be contiguous.
    """
    function = _function("rotm", y.dtype)
    return functools.partial(function, ctypes.c_int64(y.size), At(x), ONE, At(y), ONE, by)


def fingerprint(dtype: npt.DTypeLike) -> bytes:
    """What `rotm` makes of some numbers; nothing where it is not to be had, or not to be trusted.

    The last digits depend on the processor. Processors that agree here agree everywhere, provided that it does not
    matter where in memory the numbers are, nor how many stand before them: that is tried, too. (To `axpy` it matters.)
    """
    kind: np.dtype[Any] = np.dtype(dtype)
    if not _function("rotm", kind):
        return b""
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal((2, 200)).astype(kind)
    by, found = factors(kind), set()
    by[1:] = [0.7, -0.3, 0.6, 0.9]
    for start, cut in itertools.product(range(17), (0, 7, 33)):
        room = np.zeros((2, 200 + 17), kind)
        x, y = (row[start : start + 200] for row in room)
        x[:], y[:] = numbers
        for part in (slice(0, cut), slice(cut, 200)):
            rotm(x[part], y[part], by)()
        found.add(x.tobytes() + y.tobytes())
    x, y = numbers.astype(np.float64)
    expected = np.concatenate([0.7 * x + 0.6 * y, -0.3 * x + 0.9 * y])
    right = np.allclose(np.frombuffer(next(iter(found)), kind), expected, rtol=1e-5, atol=1e-6)
    return found.pop() if len(found) == 1 and right else b""


def add_product(a: Array, b: Array, total: Array) -> Call | None:
    """The call of ``total += a @ b`` in one pass over `total`; None where it cannot be had, and for vectors.

    Matrices of float32 or float64 that are contiguous along one of their axes, `total` along its rows.

    Whether the sum has the bits of ``total + (a @ b)`` depends on how BLAS adds up: where all terms fit into one block
    it does. On zeros it has those of ``a @ b``, but for the sign of a zero.
    """
    gemm = _function("gemm", total.dtype)
    if gemm is None or min(*a.shape, b.shape[1]) < 2:
        return None
    size = total.itemsize
    orders, sides = [ctypes.c_int(ROW_MAJOR)], []
    for matrix in (a, b):
        down, across = matrix.strides
        order, step = (AS_IT_IS, down) if across == size else (TRANSPOSED, across)
        orders.append(ctypes.c_int(order))
        sides += [At(matrix), ctypes.c_int64(step // size)]
    m, k, n = (ctypes.c_int64(length) for length in (*a.shape, b.shape[1]))
    one, step_of_total = _number(total.dtype)(1), ctypes.c_int64(total.strides[0] // size)
    return functools.partial(gemm, *orders, m, n, k, one, *sides, one, At(total), step_of_total)


def transpose(a: Array, out: Array) -> Call | None:
    """The call of ``out[...] = a``; None where it cannot be had. NumPy takes seven to fourteen times as long.

    `a` must be contiguous along its rows, `out` along its columns.
    """
    copy = _function("omatcopy", a.dtype)
    if copy is None:
        return None
    orders = ctypes.c_int(ROW_MAJOR), ctypes.c_int(TRANSPOSED)
    m, n = (ctypes.c_int64(length) for length in a.shape)
    step_of_a, step_of_out = (ctypes.c_int64(step // a.itemsize) for step in (a.strides[0], out.strides[1]))
    return functools.partial(copy, *orders, m, n, _number(a.dtype)(1), At(a), step_of_a, At(out), step_of_out)


def _number(dtype: np.dtype[Any]) -> Any:
    return ctypes.c_float if dtype.itemsize == 4 else ctypes.c_double
