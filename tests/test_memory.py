"""Vectors are zeros like others, and begin where a line of the cache or a large page does."""

import gc

import numpy as np
import pytest

from nnmpi import memory
from nnmpi.memory import LARGE, LINE, PAGE, aligned, zeros
from nnmpi.nn.architecture import Architecture, glorot_uniform
from nnmpi.nn.network import Network
from nnmpi.nn.optimizers import SGD


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0, 8, LARGE - 8, LARGE, 3 * PAGE + 8])
def test_zeros_are_zeros_of_the_asked_length(size: int, dtype: str) -> None:
    length = size // np.dtype(dtype).itemsize
    found = zeros(length, dtype)
    assert found.shape == (length,)
    assert found.dtype == dtype
    assert not found.any()
    found[:] = 1  # all of it is there, and may be written
    assert size == 0 or found.ctypes.data % (LINE if size < LARGE else PAGE) == 0


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "float32", "float64"])
def test_memory_is_aligned_whatever_else_there_is(dtype: str) -> None:
    kept = [aligned(length, dtype) for length in [*range(1, 50), *range(4_000_000, 4_000_003)]]
    assert [array.size for array in kept[:49]] == list(range(1, 50))
    assert not any(array.ctypes.data % LINE for array in kept)
    assert not any(array.any() for array in kept)


def test_what_a_step_computes_with_is_aligned() -> None:
    architecture = Architecture((64, 32, 16, 10), "relu", "softmax", "cross-entropy", "float32")
    parameters = glorot_uniform(architecture, np.random.default_rng(0))
    network, optimizer = Network(architecture, parameters, 32), SGD(parameters, 0.9, True)
    network.forward(network.bind([np.ones((65, 32), np.float32)]))
    plains = [layer._plains[0] for layer in network.layers]
    arrays = [parameters, optimizer.state, *(array for p in plains for array in (p.output, p.delta, p.slope))]
    assert len(arrays) == 11
    assert not any(array.ctypes.data % LINE for array in arrays)


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
