"""Products that are added to what is there."""

from typing import Any

import numpy as np
import pytest

from nnmpi.nn import blas
from nnmpi.nn.blas import add_product, axpby, axpy, fingerprint, number

DTYPES = [np.dtype("float32"), np.dtype("float64")]
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
    add = add_product(a, b, total)
    assert add
    add(a)
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("way", WAYS)
def test_products_with_one_factor_after_another_are_added(way: str) -> None:
    generator = np.random.default_rng(0)
    first, second = (matrix(generator, 65, 16, way, "float64") for _ in range(2))
    b, total = matrix(generator, 16, 40, "rows", "float64"), np.zeros((65, 40))
    add = add_product(first, b, total)
    assert add
    for factor in (first, second, first):
        add(factor, b, total)
    np.testing.assert_allclose(total, (2 * first + second) @ b, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="shape and strides"):
        add(np.asfortranarray(first) if "columns" not in way else np.ascontiguousarray(first), b, total)


@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 1, 4), (4, 4, 1), (4, 0, 4)])
def test_vectors_are_left_alone(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    assert add_product(np.ones((m, k)), np.ones((k, n)), np.ones((m, n))) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiples_are_added(dtype: Any) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 1001)).astype(dtype)
    a, b = number(dtype, 0.25), number(dtype)
    expected = y + dtype.type(0.25) * x
    axpy(a, x, y)()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    call = axpby(a, x, b, y)
    a.value, b.value = 2.0, -1.5  # factors may change after the call was bound
    expected = dtype.type(2) * x - dtype.type(1.5) * y
    call()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fingerprint_tells_what_the_numbers_become(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fingerprint(dtype)
    assert len(found) == 200 * dtype.itemsize, "NumPy's own wheels can do this: nothing was tested"
    assert found == fingerprint(dtype)
    right = blas.axpy

    def a_bit_more(a: Any, x: Any, y: Any) -> Any:
        return right(number(dtype, a.value * (1 + 1e-6)), x, y)

    monkeypatch.setattr(blas, "axpy", a_bit_more)
    assert fingerprint(dtype) not in (b"", found)


def by_place(a: Any, x: Any, y: Any) -> Any:
    """Other digits where the numbers are at another place in memory."""
    return lambda: np.add(y, a.value * (1 + 1e-7 * (y.ctypes.data // y.itemsize % 16)) * x, out=y)


def by_number(a: Any, x: Any, y: Any) -> Any:
    """Other digits for the last numbers."""

    def call() -> None:
        y[:-8] += a.value * x[:-8]
        y[-8:] += a.value * (1 + 1e-6) * x[-8:]

    return call


@pytest.mark.parametrize(
    "wrong", [by_place, by_number, lambda a, x, y: lambda: np.add(y, 2 * x, out=y)], ids=["place", "number", "wrong"]
)
def test_what_is_not_to_be_trusted_has_no_fingerprint(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "axpy", wrong)
    assert fingerprint("float64") == b""


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    blas._function.cache_clear()
    monkeypatch.setattr(blas, "_linked_with_blas", None)  # this program itself
    total = np.ones((2, 2), np.float32)
    try:
        assert add_product(total, total, total) is None
        assert fingerprint("float32") == b""
    finally:
        blas._function.cache_clear()
