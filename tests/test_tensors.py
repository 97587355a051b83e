"""Arrays as safetensors: the same bytes as the library writes, without its copies."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnmpi.files.checkpoint import Checkpoint, Progress, Unfinished
from nnmpi.files.tensors import pieces

ARRAYS = st.sampled_from(["<f4", "<f8"]).flatmap(lambda kind: arrays(kind, st.sampled_from([(0,), (1,), (3, 2), (5,)])))


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4), st.none() | st.just({"nnmpi": 'ä"\\n'}))
def test_bytes_are_the_librarys(tensors: dict[str, np.ndarray], metadata: dict[str, str] | None) -> None:
    assert b"".join(pieces(tensors, metadata)) == safetensors.numpy.save(tensors, metadata)


def test_part_of_an_array_is_written_as_it_is_seen() -> None:
    whole = np.arange(12.0).reshape(3, 4)
    parts = {"rows": whole[1:], "columns": whole[:, 1:3], "transposed": whole.T}
    read = safetensors.numpy.load(b"".join(pieces(parts)))
    assert all(np.array_equal(read[name], part) for name, part in parts.items())


def test_checkpoint_is_written_without_a_copy(tmp_path: Path) -> None:
    parameters = np.zeros(1 << 20, np.float32)
    tracemalloc.start()
    try:
        Unfinished(tmp_path, Checkpoint(Progress(), {"parameters": parameters}, {})).finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < parameters.nbytes / 8


def test_other_kinds_of_numbers_are_refused() -> None:
    with pytest.raises(KeyError):
        list(pieces({"whole": np.zeros(3, np.int64)}))
