"""Write arrays as a safetensors file, piece by piece; the library would first copy all of them in memory, twice.

The format (safetensors' README) is eight bytes with the length of a JSON header, the header, and the arrays one after
the other. The bytes are the same as those that the library writes.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnmpi.arrays import Array

DTYPES = {"<f4": "F32", "<f8": "F64"}


def pieces(arrays: dict[str, Array], metadata: dict[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """Yield the bytes of the file; contiguous arrays are not copied."""
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so that all arrays are aligned
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    start = 0
    for name in names:
        array = arrays[name]
        end = start + array.nbytes
        header[name] = {"dtype": DTYPES[array.dtype.str], "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data
