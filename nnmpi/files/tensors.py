"""Arrays as a safetensors file, piece by piece: the library would make two copies of all of them in memory first.

The format (safetensors' README): eight bytes with the length of a JSON header, the header, the arrays one after the
other. The bytes are those that the library writes.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = {"<f4": "F32", "<f8": "F64"}


def pieces(arrays: dict[str, npt.NDArray[Any]], metadata: dict[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """The file's bytes; those of an array that is contiguous are no copy."""
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so that all are aligned
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    start = 0
    for name in names:
        array = arrays[name]
        end = start + array.nbytes
        header[name] = {"dtype": KINDS[array.dtype.str], "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data
