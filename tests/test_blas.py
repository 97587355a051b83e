"""Products that are added to what is there."""

from typing import Any

import numpy as np
import pytest

from nnmpi.nn import blas
from nnmpi.nn.blas import add_product

WAYS = ["rows", "columns", "part", "part of columns"]


def matrix(generator: Any, rows: int, columns: int, way: str, dtype: str) -> Any:
    """Random numbers, contiguous along the rows or the columns, or part of a larger array of either kind."""
    if "columns" in way:
        return matrix(generator, columns, rows, "part" if "part" in way else "rows", dtype).T
    if way == "part":
        return matrix(generator, rows + 3, columns + 5, "rows", dtype)[2:-1, 1:-4]
    return generator.standard_normal((rows, columns)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("b_way", WAYS)
@pytest.mark.parametrize("a_way", WAYS)
def test_product_is_added(a_way: str, b_way: str, dtype: str) -> None:
    generator = np.random.default_rng(0)
    a, b = matrix(generator, 65, 16, a_way, dtype), matrix(generator, 16, 40, b_way, dtype)
    total = matrix(generator, 65, 40, "rows", dtype)
    expected = total + a @ b
    assert add_product(a, b, total)
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    blas._gemm.cache_clear()
    monkeypatch.setattr(blas, "threadpool_info", lambda: [{"user_api": "blas", "filepath": "/opt/mkl/libmkl_rt.so"}])
    total = np.ones((2, 2), np.float32)
    try:
        assert not add_product(total, total, total)
    finally:
        blas._gemm.cache_clear()
    assert total.tolist() == [[1, 1], [1, 1]]
