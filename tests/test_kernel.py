"""The kernel of OpenBLAS that fits the size of the products."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from nnmpi.nn import kernel
from nnmpi.nn.kernel import FEW, LARGE, SMALL, choose_kernel, current


@pytest.fixture
def zen_4(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on such a processor, wherever OpenBLAS can change its kernel; afterwards as it was.

    Where it computes with that for AVX2 already, an older one is what is changed to: never one of newer instructions.
    """
    before, own = current(), kernel.first()
    if own not in ("Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids"):
        pytest.skip(f"NumPy's BLAS computes with {own or 'what cannot be changed'}, not as on an x86 with AVX2")
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    monkeypatch.setattr(kernel, "_zen", lambda: 4)
    monkeypatch.setattr(kernel, "FOR_AVX512", own)
    if own in ("Haswell", "Zen"):
        monkeypatch.setattr(kernel, "FOR_AVX2", "Sandybridge")
    choose_kernel(1, 1)
    assert current() == own
    yield
    kernel.use(before)
    assert current() == before


@pytest.fixture
def zen_5(zen_4: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as on that processor."""
    monkeypatch.setattr(kernel, "_zen", lambda: 5)


def test_kernel_goes_with_the_size_of_the_products(zen_4: None) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 200, 200), np.float32)
    exact = a.astype(np.float64) @ b
    for samples, large in ((101, True), (100, False), (100, False), (10**6, True)):
        choose_kernel(SMALL // 100, samples)
        assert current() == (kernel.FOR_AVX2 if large else kernel.FOR_AVX512)
        np.testing.assert_allclose(a @ b, exact, atol=1e-3)


def test_on_zen_5_only_few_samples_of_large_layers_are_better_off_with_avx2(zen_5: None) -> None:
    for weights, samples, name in (
        (2048 * 2048, 256, kernel.FOR_AVX512),
        (2048 * 2048, FEW - 1, kernel.FOR_AVX2),
        (2048 * 2048, FEW, kernel.FOR_AVX512),
        (LARGE, FEW - 1, kernel.FOR_AVX512),
        (LARGE + 1, 1, kernel.FOR_AVX2),
        (64 * 64, 4, kernel.FOR_AVX512),
    ):
        choose_kernel(weights, samples)
        assert current() == name


def test_choice_of_the_user_stays(zen_4: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel.VARIABLE, "Zen")
    choose_kernel(10**6, 10**6)
    assert current() == kernel.FOR_AVX512
    monkeypatch.delenv(kernel.VARIABLE)


def test_environment_is_left_as_it_was(zen_4: None) -> None:
    choose_kernel(10**6, 10**6)
    assert kernel.VARIABLE not in os.environ


def test_kernel_that_openblas_did_not_take_is_never_forced_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    monkeypatch.setattr(kernel, "_zen", lambda: 4)
    monkeypatch.setattr(kernel, "current", lambda: "Haswell")
    monkeypatch.setattr(kernel, "first", lambda: "Haswell")
    monkeypatch.setattr(kernel, "library", lambda: pytest.fail("the kernel was about to be changed"))
    choose_kernel(1, 1)
    choose_kernel(10**6, 10**6)
    assert not kernel.is_choice()


def test_other_processors_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_zen", lambda: 0)
    before = current()
    choose_kernel(10**6, 10**6)
    assert current() == before


AVX512 = "fpu avx2 avx512f"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "17", "flags": AVX512}, 4),
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "1", "flags": "fpu avx2"}, 0),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "2", "flags": AVX512}, 5),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "2", "flags": "fpu avx2"}, 0),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "model": "36", "flags": AVX512}, 0),
        ({"vendor_id": "GenuineIntel", "cpu family": "25", "model": "2", "flags": AVX512}, 0),
        ({"Features": "fp asimd"}, 0),
    ],
    ids=["Zen 4", "Zen 3", "Zen 5", "Zen 5 without them", "small Zen 5", "Intel", "ARM"],
)
def test_processor_is_told_by_what_linux_says(
    lines: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(f"{key}\t: {value}" for key, value in {"processor": "0", **lines}.items())
    monkeypatch.setattr(kernel, "Path", lambda path: SimpleNamespace(read_text=lambda: f"{text}\n\n{text}\n\n"))
    assert kernel._zen() == expected


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "library", SimpleNamespace)
    monkeypatch.setattr(kernel, "first", current)  # which a process asks for once, with its own BLAS
    monkeypatch.setattr(kernel, "_zen", lambda: 4)
    assert current() == ""
    choose_kernel(10**6, 10**6)


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("SkylakeX", "float32", True),
        ("SkylakeX", "float64", False),
        ("Haswell", "float32", False),
        ("", "float32", False),
    ],
)
def test_one_kernel_is_slow_across_for_one_type(
    name: str, dtype: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "current", lambda: name)
    assert kernel.is_slow_across(np.dtype(dtype)) is expected
