"""The kernel of OpenBLAS that fits the size of the products."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from nnmpi.nn import kernel
from nnmpi.nn.kernel import FOR_AVX2, OWN_CHOICE, SMALL, choose_kernel, current


@pytest.fixture
def zen_4(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on such a processor, wherever OpenBLAS can compute with both kernels; afterwards as it was."""
    before = current()
    if before not in (OWN_CHOICE, FOR_AVX2):
        pytest.skip(f"NumPy's BLAS computes with {before or 'what cannot be changed'}, not with {OWN_CHOICE}")
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    monkeypatch.setattr(kernel, "_is_zen_4", lambda: True)
    if before == FOR_AVX2:
        choose_kernel(1)
        if current() != OWN_CHOICE:
            pytest.skip("this processor has no AVX-512")
    yield
    choose_kernel(SMALL + 1 if before == FOR_AVX2 else 1)
    assert current() == before


def test_kernel_goes_with_the_size_of_the_products(zen_4: None) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 200, 200), np.float32)
    exact = a.astype(np.float64) @ b
    for multiplications, name in ((SMALL + 1, FOR_AVX2), (SMALL, OWN_CHOICE), (SMALL, OWN_CHOICE), (10**12, FOR_AVX2)):
        choose_kernel(multiplications)
        assert current() == name
        np.testing.assert_allclose(a @ b, exact, atol=1e-3)


def test_choice_of_the_user_stays(zen_4: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel.VARIABLE, "Zen")
    choose_kernel(10**12)
    assert current() == OWN_CHOICE
    monkeypatch.delenv(kernel.VARIABLE)


def test_environment_is_left_as_it_was(zen_4: None) -> None:
    choose_kernel(10**12)
    assert kernel.VARIABLE not in os.environ


def test_other_processors_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_is_zen_4", lambda: False)
    before = current()
    choose_kernel(10**12)
    assert current() == before


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "flags": "fpu avx2 avx512f"}, True),
        ({"vendor_id": "AuthenticAMD", "cpu family": "25", "flags": "fpu avx2"}, False),
        ({"vendor_id": "AuthenticAMD", "cpu family": "26", "flags": "fpu avx2 avx512f"}, False),
        ({"vendor_id": "GenuineIntel", "cpu family": "25", "flags": "fpu avx2 avx512f"}, False),
        ({"Features": "fp asimd"}, False),
    ],
    ids=["Zen 4", "Zen 3", "Zen 5", "Intel", "ARM"],
)
def test_processor_is_told_by_what_linux_says(
    lines: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(f"{key}\t: {value}" for key, value in {"processor": "0", **lines}.items())
    monkeypatch.setattr(kernel, "Path", lambda path: SimpleNamespace(read_text=lambda: f"{text}\n\n{text}\n\n"))
    assert kernel._is_zen_4() is expected


def test_another_blas_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "library", SimpleNamespace)
    monkeypatch.setattr(kernel, "_is_zen_4", lambda: True)
    assert current() == ""
    choose_kernel(10**12)
