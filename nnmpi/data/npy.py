"""Safe reading of NumPy's array format, in files and archives: sizes are checked against the bytes, nothing is run."""

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
import numpy.typing as npt

from nnmpi.data.sources.source import Indices, in_pieces

BYTES_AT_ONCE = 1 << 24
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
        yield file, read_header(file, name, info.file_size)


@contextlib.contextmanager
def opened_file(path: str) -> Iterator[tuple[IO[bytes], Header]]:
    """The same of an ``.npy`` file."""
    with open(path, "rb") as file:
        yield file, read_header(file, path, os.path.getsize(path))


def read_header(file: IO[bytes], name: str, size: int) -> Header:
    """The header of an array that takes `size` bytes with it: a literal, which NumPy parses without running it."""
    header = _parsed(file)
    expected = file.tell() + math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or (expected != size and not header.dtype.hasobject):
        raise ValueError(f"{name} has {size} bytes, by its header it should have {expected}")
    return header


def read_whole(file: IO[bytes], header: Header) -> npt.NDArray[Any]:
    """All of the array that begins where `file` stands."""
    return np.ndarray(header.shape, header.dtype, file.read(), order="F" if header.fortran_order else "C")


def read_rows(file: IO[bytes], header: Header, indices: Indices, out: npt.NDArray[Any], seek: bool) -> None:
    """Write the rows `indices` of the array that begins where `file` stands to `out`, shape (n, features).

    All is read in pieces; with `seek` only from the first to the last row that is wanted of a piece.
    """
    shape, fortran_order, dtype = header
    size, features = shape[0], math.prod(shape[1:])
    if fortran_order:  # one feature after the other; those of an image column by column
        pieces = list(in_pieces(indices, size, max(1, BYTES_AT_ONCE // dtype.itemsize)))
        for feature in np.arange(features).reshape(shape[1:]).ravel(order="F").tolist():
            _read_pieces(file, dtype, size, 1, pieces, indices, out[:, feature : feature + 1], seek)
    else:
        pieces = list(in_pieces(indices, size, max(1, BYTES_AT_ONCE // (features * dtype.itemsize))))
        _read_pieces(file, dtype, size, features, pieces, indices, out, seek)


def _read_pieces(
    file: IO[bytes],
    dtype: np.dtype[Any],
    size: int,
    features: int,
    pieces: list[tuple[int, int, Indices]],
    indices: Indices,
    out: npt.NDArray[Any],
    seek: bool,
) -> None:
    width = features * dtype.itemsize
    first = file.tell() if seek else 0
    for start, stop, places in pieces:
        if seek:
            if not len(places):
                continue
            start, stop = int(indices[places].min()), int(indices[places].max()) + 1
            file.seek(first + start * width)
        data = file.read((stop - start) * width)
        piece = np.frombuffer(data, dtype, (stop - start) * features).reshape(-1, features)
        out[places] = piece[indices[places] - start]
    if seek:
        file.seek(first + size * width)


def _parsed(file: IO[bytes]) -> Header:
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
