"""Long vectors are zeros like others, and begin where a large page does."""

import gc

import numpy as np
import pytest

from nnmpi import memory
from nnmpi.memory import LARGE, PAGE, zeros


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0, 8, LARGE - 8, LARGE, 3 * PAGE + 8])
def test_zeros_are_zeros_of_the_asked_length(size: int, dtype: str) -> None:
    length = size // np.dtype(dtype).itemsize
    found = zeros(length, dtype)
    assert found.shape == (length,)
    assert found.dtype == dtype
    assert not found.any()
    found[:] = 1  # all of it is there, and may be written
    assert size < LARGE or found.ctypes.data % PAGE == 0


def test_memory_lives_as_long_as_a_view_of_it() -> None:
    view = zeros(LARGE, "float32")[5:]
    gc.collect()
    view[:] = 2
    assert view.sum() == 2 * (LARGE - 5)


def test_systems_without_large_pages_have_zeros_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.mmap, "MADV_HUGEPAGE", 9999)  # which the kernel does not know
    assert not zeros(LARGE, "float32").any()
    monkeypatch.delattr(memory.mmap, "MADV_HUGEPAGE")
    assert not zeros(LARGE, "float32").any()
