"""The kernel of OpenBLAS that fits the size of the products."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from nnmpi.nn import kernel
from nnmpi.nn.kernel import SMALL, choose_kernel, current


@pytest.fixture
def zen_4(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on such a processor, wherever OpenBLAS can change its kernel; afterwards as it was.

    Where it computes with that for AVX2 already, an older one is what is changed to: never one of newer instructions.
    """
    before, own = current(), kernel.first()
    if own not in ("Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids"):
        pytest.skip(f"NumPy's BLAS computes with {own or 'what cannot be changed'}, not as on an x86 with AVX2")
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    monkeypatch.setattr(kernel, "_is_zen_4", lambda: True)
    monkeypatch.setattr(kernel, "OWN_CHOICE", own)
    if own in ("Haswell", "Zen"):
        monkeypatch.setattr(kernel, "FOR_AVX2", "Sandybridge")
    choose_kernel(1)
    assert current() == own
    yield
    choose_kernel(1 if before == own else SMALL + 1)
    assert current() == before


def test_kernel_goes_with_the_size_of_the_products(zen_4: None) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 200, 200), np.float32)
    exact = a.astype(np.float64) @ b
    own, other = kernel.OWN_CHOICE, kernel.FOR_AVX2
    for multiplications, name in ((SMALL + 1, other), (SMALL, own), (SMALL, own), (10**12, other)):
        choose_kernel(multiplications)
        assert current() == name
        np.testing.assert_allclose(a @ b, exact, atol=1e-3)


def test_choice_of_the_user_stays(zen_4: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel.VARIABLE, "Zen")
    choose_kernel(10**12)
    assert current() == kernel.OWN_CHOICE
    monkeypatch.delenv(kernel.VARIABLE)


def test_environment_is_left_as_it_was(zen_4: None) -> None:
    choose_kernel(10**12)
    assert kernel.VARIABLE not in os.environ


def test_kernel_that_openblas_did_not_take_is_never_forced_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    monkeypatch.setattr(kernel, "_is_zen_4", lambda: True)
    monkeypatch.setattr(kernel, "current", lambda: "Haswell")
    monkeypatch.setattr(kernel, "first", lambda: "Haswell")
    monkeypatch.setattr(kernel, "library", lambda: pytest.fail("the kernel was about to be changed"))
    choose_kernel(1)
    choose_kernel(10**12)
    assert not kernel.is_choice()


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
