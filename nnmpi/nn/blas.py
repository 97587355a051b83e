"""A matrix product that is added to what is there, which NumPy has no call for, though its BLAS does."""

import ctypes
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info

Array = npt.NDArray[np.floating]

ROW_MAJOR, AS_IT_IS, TRANSPOSED = 101, 111, 112  # of CBLAS


@functools.cache
def _gemm(letter: str) -> Any:
    """CBLAS's ``?gemm`` of the OpenBLAS that NumPy's own wheels bring; None where NumPy has another BLAS."""
    whole, real = ctypes.c_int64, ctypes.c_float if letter == "s" else ctypes.c_double
    for pool in threadpool_info():
        if pool["user_api"] == "blas" and "numpy" in pool["filepath"]:
            function = getattr(ctypes.CDLL(pool["filepath"]), f"scipy_cblas_{letter}gemm64_", None)
            if function:
                matrix = [ctypes.c_void_p, whole]
                function.argtypes = [*[ctypes.c_int] * 3, *[whole] * 3, real, *matrix, *matrix, real, *matrix]
                function.restype = None
                return function
    return None


def add_product(a: Array, b: Array, total: Array) -> bool:
    """``total += a @ b`` in one pass over `total`; False, and nothing done, where that cannot be.

    Matrices of float32 or float64 that are contiguous along one of their axes, `total` along its rows. Whether the sum
    has the bits of ``total + (a @ b)`` depends on how BLAS adds up: where all terms fit into one block it does.
    """
    gemm = _gemm(total.dtype.char.replace("f", "s"))
    if gemm is None:
        return False
    (m, k), n, size = a.shape, b.shape[1], total.itemsize
    sides = []
    for matrix in (a, b):
        down, across = matrix.strides
        order, step = (AS_IT_IS, down) if across == size else (TRANSPOSED, across)
        sides.append((order, matrix.ctypes.data, step // size))
    (a_order, a_data, a_step), (b_order, b_data, b_step) = sides
    out, step = total.ctypes.data, total.strides[0] // size
    gemm(ROW_MAJOR, a_order, b_order, m, n, k, 1.0, a_data, a_step, b_data, b_step, 1.0, out, step)
    return True
