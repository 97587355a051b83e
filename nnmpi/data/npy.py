"""Safe reading of NumPy's array format from files and archives: sizes are checked, and no code from a file is run."""

import contextlib
import io
import math
import os
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from nnmpi.arrays import Array, Indices
from nnmpi.data.sources.source import in_pieces
from nnmpi.errors import InputError

BYTES_AT_ONCE = 1 << 24
LONGEST_HEADER = 10_000  # bytes of an array's header; NumPy has the same limit
MOST_INFLATED = 1032  # the largest factor by which deflate compresses
# Python's parser sometimes fails in threads (python/cpython#106905), and warnings are caught for all threads
_PARSER = threading.Lock()
# the errors that reading a damaged file may raise
DAMAGE = (
    *(OSError, ValueError, OverflowError, EOFError, MemoryError, RuntimeError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Report an error in `DAMAGE` as an `InputError` about the source `name`."""
    try:
        yield
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None


class Header(NamedTuple):
    """The header of an array."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


@contextlib.contextmanager
def opened(path: str, name: str) -> Iterator[tuple[IO[bytes], Header]]:
    """Open the array `name` of the archive at `path`; yield a file positioned at its first number, and the header.

    All sizes are checked against the size of the file, so that a small file cannot claim much memory.

    Raises
    ------
    One of `DAMAGE`
        If the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} has a compression method that NumPy does not use")
        max_size = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else MOST_INFLATED)
        if info.compress_size > os.path.getsize(path) or info.file_size > max_size:
            raise ValueError(f"{name} claims to have {info.file_size} bytes, more than the file can hold")
        with archive.open(info) as file:
            yield file, read_header(file, name, info.file_size)


@contextlib.contextmanager
def opened_file(path: str) -> Iterator[tuple[IO[bytes], Header]]:
    """Open an ``.npy`` file; yield the same as `opened`."""
    with open(path, "rb") as file:
        yield file, read_header(file, path, os.path.getsize(path))


def read_header(file: IO[bytes], name: str, size: int) -> Header:
    """Read the header of an array of `size` bytes with its header. NumPy parses it as a literal and runs no code."""
    header = _parse_header(file)
    expected = file.tell() + math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or (expected != size and not header.dtype.hasobject):
        raise ValueError(f"{name} has {size} bytes, but its header says {expected}")
    return header


def read_whole(file: IO[bytes], header: Header) -> Array:
    """Read the whole array that begins at the position of `file`."""
    return np.ndarray(header.shape, header.dtype, file.read(), order="F" if header.fortran_order else "C")


def read_rows(file: IO[bytes], header: Header, indices: Indices, out: Array, seek: bool) -> None:
    """Read the rows `indices` of the array that begins at the position of `file` into `out`, shape (n, features).

    The array is read in pieces. With `seek`, a piece is read only from its first to its last row in `indices`.
    """
    shape, fortran_order, dtype = header
    size, features = shape[0], math.prod(shape[1:])
    if fortran_order:  # feature by feature; the pixels of an image column by column
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
    out: Array,
    seek: bool,
) -> None:
    width = features * dtype.itemsize
    data_start = file.tell() if seek else 0
    for start, stop, positions in pieces:
        if seek:
            if not len(positions):
                continue
            start, stop = int(indices[positions].min()), int(indices[positions].max()) + 1
            file.seek(data_start + start * width)
        data = file.read((stop - start) * width)
        piece = np.frombuffer(data, dtype, (stop - start) * features).reshape(-1, features)
        out[positions] = piece[indices[positions] - start]
    if seek:
        file.seek(data_start + size * width)


def _parse_header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    size = file.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(size, "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"an array header has {length} bytes, more than {LONGEST_HEADER}")
    rest = io.BytesIO(size + file.read(length))
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        with _PARSER, warnings.catch_warnings(action="ignore"):  # about unusual literals
            return Header(*read(rest))
    except Exception as error:  # Python's parser and NumPy's types raise many kinds of errors
        raise ValueError(f"an array header is damaged ({type(error).__name__}: {first_line(error)})") from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]
