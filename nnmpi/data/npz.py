"""Safe reading of the arrays of an ``.npz`` file: sizes are checked against its bytes, and nothing in it is run."""

import contextlib
import io
import math
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

LONGEST_HEADER = 10_000  # bytes of an array's header; NumPy, too, believes no longer ones
MOST_INFLATED = 1032  # times that deflate can make data smaller
# what reading a damaged archive ends in
DAMAGE = (
    *(OSError, ValueError, OverflowError, EOFError, MemoryError, RuntimeError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


class Header(NamedTuple):
    """What an array says of itself."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


@contextlib.contextmanager
def opened(archive: zipfile.ZipFile, name: str) -> Iterator[tuple[IO[bytes], Header]]:
    """The array `name` of an archive: a file that stands at its first number, and its header.

    Sizes are those of the bytes that are there, so that a small file cannot ask for much memory.

    Raises
    ------
    One of `DAMAGE`
        If there is something wrong.
    """
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in a way that NumPy does not write")
    assert archive.filename
    most = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else MOST_INFLATED)
    if info.compress_size > os.path.getsize(archive.filename) or info.file_size > most:
        raise ValueError(f"{name} is said to have {info.file_size} bytes, more than the file can hold")
    with archive.open(info) as file:
        header = _header(file)
        expected = file.tell() + math.prod(header.shape) * header.dtype.itemsize
        if min(header.shape, default=0) < 0 or (expected != info.file_size and not header.dtype.hasobject):
            raise ValueError(f"{name} has {info.file_size} bytes, by its header it should have {expected}")
        yield file, header


def _header(file: IO[bytes]) -> Header:
    """The header of an array: a Python literal, which NumPy parses without running anything."""
    version = np.lib.format.read_magic(file)
    size = file.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(size, "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"an array's header of {length} bytes")
    rest = io.BytesIO(size + file.read(length))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings(action="ignore"):  # of strange literals
            return Header(*read(rest))
    except Exception as error:  # Python's parser and NumPy's types have many ways to say no
        raise ValueError(f"an array's header is damaged ({type(error).__name__}: {first_line(error)})") from None


def first_line(error: BaseException) -> str:
    """What an error says, or its name, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
