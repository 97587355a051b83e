"""IDX files of images, plain or gzipped, with the labels in a second file: MNIST, Fashion-MNIST and similar sets."""

import contextlib
import gzip
import math
import os
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from nnmpi.data.npy import MOST_INFLATED, Header
from nnmpi.data.sources.arrays import stored_arrays
from nnmpi.data.sources.source import Request, Source
from nnmpi.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # type codes of the format


def open_source(request: Request) -> Source:
    """Open the images in the file, and the labels in the file with "labels" for "images" and "idx1" for "idx3"."""
    name = request.name
    labels = _labels_of(name, request.targets)
    open_y, y_key = (partial(_opened, labels), Path(labels).name) if labels else (None, "y")
    files = tuple(filter(None, (name, labels)))
    return stored_arrays(name, partial(_opened, name), open_y, files, seek=not name.endswith(".gz"), y_key=y_key)


def _labels_of(name: str, targets: bool) -> str | None:
    path = Path(name)
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if "labels" in path.name:
        images = path.name.replace("labels", "images").replace("idx1", "idx3")
        raise InputError(f"--data {name}: this is the file of labels: pass the file of images, {images}")
    if labels.is_file() and labels != path:
        return str(labels)
    if targets and labels == path:
        raise InputError(f"--data {name}: its name needs the word images, to find the file of labels beside it")
    if targets:
        raise InputError(f"--data {name}: there is no {labels.name}, the file of labels, beside it")
    return None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[IO[bytes], Header]]:
    """Open an IDX file; yield it at its first number, and its header: two zero bytes, a type, the shape, big-endian."""
    opener: Any = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        zero, code, dimensions = struct.unpack(">HBB", file.read(4))
        if zero or code not in TYPES:
            raise ValueError("its first bytes are not those of an IDX file")
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        dtype = np.dtype(TYPES[code])
        size = 4 + 4 * dimensions + math.prod(shape) * dtype.itemsize
        file_size = os.path.getsize(path)
        if size > file_size * MOST_INFLATED if path.endswith(".gz") else size != file_size:
            raise ValueError(f"it has {file_size} bytes, but its header says {size}")
        yield file, Header(shape, False, dtype)
