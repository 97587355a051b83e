"""Compressed gradients: numbers of any size are rounded as NumPy and the definitions of the formats say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.reduction.compress import Exact, Halved

DIGITS = {"fp16": 11, "bf16": 8}
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def round_trip(numbers: np.ndarray, form: str) -> np.ndarray:
    codec = Halved(form, numbers.size)
    part, _ = codec.make_buffers(numbers)
    codec.put(numbers, part)
    received = np.empty_like(numbers)
    codec.take(part, received)
    return received


def nearest(numbers: np.ndarray, digits: int) -> np.ndarray:
    """Round each number to `digits` binary digits, ties to even."""
    mantissa, exponent = np.frexp(numbers.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 2.0**digits), exponent - digits)


@pytest.mark.parametrize("form", DIGITS)
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e-5, 1.0, 3e4, 1e30])
def test_numbers_of_any_size_keep_their_digits(form: str, scale: float) -> None:
    generator = np.random.default_rng(7)
    numbers = (scale * generator.uniform(0.01, 1, 5000) * generator.choice([-1, 1], 5000)).astype(np.float32)
    np.testing.assert_array_equal(round_trip(numbers, form), nearest(numbers, DIGITS[form]))


@given(st.lists(floats, min_size=1, max_size=30))
def test_bf16_is_the_nearest(values: list[float]) -> None:
    numbers = np.array(values, np.float32)
    normal = np.abs(numbers) >= np.finfo(np.float32).tiny
    expected = nearest(numbers, 8)
    received = round_trip(numbers, "bf16")
    fits = np.abs(expected) <= np.finfo(np.float32).max
    np.testing.assert_array_equal(received[normal & fits], expected[normal & fits])
    assert np.isinf(received[~fits]).all()


@given(st.lists(floats, min_size=1, max_size=30))
def test_fp16_errs_by_half_a_digit_or_a_little_of_the_largest(values: list[float]) -> None:
    numbers = np.array(values, np.float32)
    largest = np.abs(numbers).max()
    if not 1e-28 < largest < 3e38:  # float32 cannot hold the rounded numbers beyond these limits
        return
    error = np.abs(round_trip(numbers, "fp16").astype(np.float64) - numbers)
    assert (error <= np.maximum(np.abs(numbers.astype(np.float64)) * 2**-11, largest * 2.0**-38)).all()


@pytest.mark.parametrize("form", DIGITS)
def test_what_is_not_finite_stays_so(form: str) -> None:
    numbers = np.array([1, np.nan, np.inf, -np.inf, 0, -0.0], np.float32)
    for values in (numbers, numbers[:2], numbers[2:3], numbers[3:]):
        with np.errstate(over="ignore", invalid="ignore"):
            received = round_trip(values, form)
        assert not np.isfinite(received[~np.isfinite(values)]).any()
    np.testing.assert_array_equal(round_trip(np.zeros(3, np.float32), form), np.zeros(3))


@pytest.mark.parametrize("largest", [1e39, 5e42, 1e45, 1e60, 1e300])
@pytest.mark.parametrize("form", DIGITS)
def test_what_is_too_large_for_float32_is_not_finite(form: str, largest: float) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        received = round_trip(np.array([1, -largest]), form)
    assert not np.isfinite(received[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", DIGITS)
def test_sums_are_made_in_full_precision_and_rounded_for_the_way(form: str, dtype: str) -> None:
    generator = np.random.default_rng(3)
    a, b, c = (generator.standard_normal(1000).astype(dtype) for _ in range(3))
    codec = Halved(form, 1000)
    part, whole = codec.make_buffers(a)
    codec.put(a, part)
    codec.add(b, part)
    own = c.copy()
    codec.finish(own, part, whole)
    others = np.empty_like(a)
    codec.take(whole, others)
    assert own.tobytes() == others.tobytes()

    def rounded(x: np.ndarray) -> np.ndarray:
        if form == "bf16":
            return nearest(x.astype(np.float32), 8).astype(dtype)
        scale = 2.0 ** (15 - np.frexp(np.abs(x).max())[1])
        return ((x * scale).astype(np.float16).astype(np.float64) / scale).astype(dtype)

    np.testing.assert_array_equal(own, rounded(rounded(rounded(a) + b) + c))


def test_exact_numbers_are_not_copied_more_than_once() -> None:
    own = np.arange(4, dtype=np.float32)
    part, whole = Exact().make_buffers(own)
    assert whole is own
    assert not np.shares_memory(part, own)
