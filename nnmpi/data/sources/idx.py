"""IDX files of images, plain or gzipped, with the labels in a second file: MNIST, Fashion-MNIST and similar sets."""

import contextlib
import gzip
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.npy import DAMAGE, MOST_INFLATED, Header, first_line, read_rows, read_whole
from nnmpi.data.sources.arrays import check_y, checked_y, layout_of
from nnmpi.data.sources.source import Indices, Request, Source
from nnmpi.errors import InputError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # type codes of the format


def open_source(request: Request) -> Source:
    """Open the images in the file, and the labels in the file with "labels" for "images" and "idx1" for "idx3"."""
    name = request.name
    labels = _labels_of(name, request.targets)
    try:
        with _opened(name) as (_, header):
            size, features, image, dtype = layout_of(name, header.shape, header.dtype)
        y = None
        if labels:
            with _opened(labels) as (file, y_header):
                check_y(name, y_header.shape, y_header.dtype, size, f"{Path(labels).name}")
                y = checked_y(name, read_whole(file, y_header), size, f"{Path(labels).name}")
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        try:
            with _opened(name) as (file, header_now):
                if header_now != header:
                    raise ValueError("the file has changed")
                read_rows(file, header, indices, out, seek=not name.endswith(".gz"))
        except DAMAGE as error:
            raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    return Source(name, read, size, features, y, image, dtype, tuple(filter(None, (name, labels))))


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
