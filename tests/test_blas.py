"""What BLAS can do: products that are added to what is there, two vectors in one pass, copies in the other order."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from nnmpi.nn import blas
from nnmpi.nn.blas import add_product, factors, fingerprint, rotm, transpose

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
    add()
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("way", WAYS)
def test_what_the_factors_hold_at_each_call_is_added(way: str) -> None:
    generator = np.random.default_rng(0)
    a, b, total = matrix(generator, 65, 16, way, "float64"), generator.standard_normal((16, 40)), np.zeros((65, 40))
    add = add_product(a, b, total)
    assert add
    add()
    expected = a @ b
    a[:] = matrix(generator, 65, 16, way, "float64")
    add()
    np.testing.assert_allclose(total, expected + a @ b, rtol=0, atol=1e-13)


def test_what_is_computed_with_lives_as_long_as_the_call() -> None:
    arrays = [np.ones((4, 4)) for _ in range(3)]
    alive = [weakref.ref(array) for array in arrays]
    calls = [add_product(*arrays), rotm(arrays[0][0], arrays[1][0], factors(np.dtype("float64")))]
    assert all(calls)
    arrays.clear()
    assert all(array() is not None for array in alive)
    calls.clear()
    assert all(array() is None for array in alive)


def test_calls_leave_no_cycles() -> None:
    (a, b, c), by = np.ones((3, 4, 4)), factors(np.dtype("float64"))
    gc.collect()
    for _ in range(5):
        assert add_product(a, b, c)
        assert rotm(a[0], b[0], by)
    assert gc.collect() == 0


@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 1, 4), (4, 4, 1), (4, 0, 4)])
def test_vectors_are_left_alone(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    assert add_product(np.ones((m, k)), np.ones((k, n)), np.ones((m, n))) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 5), (33, 70), (128, 64)])
@pytest.mark.parametrize("wider", [0, 3])
def test_a_matrix_is_copied_into_the_other_order(shape: tuple[int, int], wider: int, dtype: Any) -> None:
    m, n = shape
    a = np.random.default_rng(0).standard_normal((m, n + wider)).astype(dtype)[:, :n]
    room = np.zeros((n + 2, m + wider), dtype)
    copy = transpose(a, room[1:-1, :m].T)
    assert copy, "NumPy's own wheels can do this: nothing was tested"
    for _ in range(2):
        copy()
        expected = np.zeros_like(room)
        expected[1:-1, :m] = a.T
        assert np.array_equal(room, expected)
        a *= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_vectors_are_made_of_two(dtype: Any) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 1001)).astype(dtype)
    by = factors(dtype)
    call = rotm(x, y, by)
    for numbers in ([2.0, -1.5, 0.5, 0.75], [0.0, 1.0, 0.0, 1.0]):  # factors may change after the call was bound
        by[1:] = numbers
        p, q, r, s = map(dtype.type, numbers)
        expected = p * x + r * y, q * x + s * y
        call()
        np.testing.assert_allclose((x, y), expected, rtol=1e-5, atol=1e-6)
    assert not x.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_fingerprint_tells_what_the_numbers_become(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fingerprint(dtype)
    assert len(found) == 400 * dtype.itemsize, "NumPy's own wheels can do this: nothing was tested"
    assert found == fingerprint(dtype)
    right = blas.rotm

    def a_bit_more(x: Any, y: Any, by: Any) -> Any:
        more = factors(dtype)
        more[1:] = [by[1] * (1 + 1e-6), *by[2:]]
        return right(x, y, more)

    monkeypatch.setattr(blas, "rotm", a_bit_more)
    assert fingerprint(dtype) not in (b"", found)


def numpys(x: Any, y: Any, by: Any, strange: Any = 1.0) -> Any:
    """The same with NumPy, but that the first vector is multiplied by something `strange`."""

    def call() -> None:
        x[:], y[:] = strange * (by[1] * x + by[3] * y), by[2] * x + by[4] * y

    return call


def by_place(x: Any, y: Any, by: Any) -> Any:
    """Other digits where the numbers are at another place in memory."""
    return numpys(x, y, by, 1 + 1e-7 * (y.ctypes.data // y.itemsize % 16))


def by_number(x: Any, y: Any, by: Any) -> Any:
    """Other digits for the last numbers."""
    return numpys(x, y, by, np.where(np.arange(x.size) < x.size - 8, 1, 1 + 1e-6))


def wrong(x: Any, y: Any, by: Any) -> Any:
    return numpys(x, y, by, 2)


def test_numpy_could_be_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next test says nothing."""
    monkeypatch.setattr(blas, "rotm", numpys)
    assert fingerprint("float64")


@pytest.mark.parametrize("strange", [by_place, by_number, wrong])
def test_what_is_not_to_be_trusted_has_no_fingerprint(strange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "rotm", strange)
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
