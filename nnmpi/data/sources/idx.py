"""IDX files of images with their labels beside them, plain or gzipped: MNIST, Fashion-MNIST and the like."""

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

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # as the format numbers them


def open_source(request: Request) -> Source:
    """The images in the file, and the labels in that with "labels" for "images" and "idx1" for "idx3"."""
    name = request.name
    labels = _labels_of(name, request.targets)
    try:
        with _opened(name) as (_, header):
            size, features, image, dtype = layout_of(name, header.shape, header.dtype)
        y = None
        if labels:
            with _opened(labels) as (file, of_y):
                check_y(name, of_y.shape, of_y.dtype, size, f"{Path(labels).name}")
                y = checked_y(name, read_whole(file, of_y), size, f"{Path(labels).name}")
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        try:
            with _opened(name) as (file, now):
                if now != header:
                    raise ValueError("it has changed")
                read_rows(file, header, indices, out, seek=not name.endswith(".gz"))
        except DAMAGE as error:
            raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    return Source(name, read, size, features, y, image, dtype, tuple(filter(None, (name, labels))))


def _labels_of(name: str, targets: bool) -> str | None:
    path = Path(name)
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if "labels" in path.name:
        images = path.name.replace("labels", "images").replace("idx1", "idx3")
        raise InputError(f"--data {name}: these are labels; give the images, {images}")
    if labels.is_file() and labels != path:
        return str(labels)
    if targets:
        raise InputError(f"--data {name}: there is no {labels.name} beside it with the labels")
    return None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[IO[bytes], Header]]:
    """A file that stands at its first number, and its header: two zeros, a type, the dimensions, big-endian."""
    opener: Any = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        zero, code, dimensions = struct.unpack(">HBB", file.read(4))
        if zero or code not in TYPES:
            raise ValueError("it does not begin as an IDX file does")
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        dtype = np.dtype(TYPES[code])
        size = 4 + 4 * dimensions + math.prod(shape) * dtype.itemsize
        there = os.path.getsize(path)
        if size > there * MOST_INFLATED if path.endswith(".gz") else size != there:
            raise ValueError(f"it has {there} bytes, by its header it should have {size}")
        yield file, Header(shape, False, dtype)
