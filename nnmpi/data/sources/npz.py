"""``.npz`` files, read without pickle: features in pieces of which only the wanted rows are kept."""

import math
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.npz import DAMAGE, Header, first_line, opened
from nnmpi.data.sources.arrays import check_y, checked_y, layout_of
from nnmpi.data.sources.source import Indices, Source, in_pieces
from nnmpi.errors import InputError

BYTES_AT_ONCE = 1 << 24
# What features and targets are called in files. The first pair whose features are there is taken.
KEYS = (
    ("X", "y"),
    ("x", "y"),
    ("data", "target"),
    ("X_train", "y_train"),
    ("x_train", "y_train"),
    ("features", "labels"),
    ("images", "labels"),
    ("arr_0", "arr_1"),  # numpy.savez(file, X, y)
)


def open_source(name: str, targets: bool, trusted: bool) -> Source:
    """The arrays X and y of the file `name`, or two that `KEYS` names."""
    try:
        with zipfile.ZipFile(name) as archive:
            x_key, y_key = _keys(name, archive, targets)
            with opened(archive, x_key) as (_, header):
                size, features, image, dtype = layout_of(name, header.shape, header.dtype, x_key)
            y = None
            if y_key:
                with opened(archive, y_key) as (file, of_y):
                    check_y(name, of_y.shape, of_y.dtype, size, y_key)
                    order: Any = "F" if of_y.fortran_order else "C"
                    y = checked_y(name, np.ndarray(of_y.shape, of_y.dtype, file.read(), order=order), size, y_key)
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        try:
            _read_rows(name, x_key, header, indices, out)
        except DAMAGE as error:
            raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    return Source(name, read, size, features, y, image, dtype)


def _keys(name: str, archive: zipfile.ZipFile, targets: bool) -> tuple[str, str | None]:
    """What features and targets are called in this archive; targets may be missing where they are not needed."""
    members = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
    x_key, y_key = next((pair for pair in KEYS if pair[0] in members), KEYS[0])
    if y_key not in members:
        y_key = next((key for _, key in KEYS if key in members), y_key)
    for key in (x_key, y_key) if targets else (x_key,):
        if key not in members:
            there = ", ".join(members[:10]) + (", …" if len(members) > 10 else "")
            raise InputError(
                f"--data {name}: has no array {key}, its arrays are {there or 'none'}: save it with "
                "numpy.savez(file, X=…, y=…)"
            )
    return x_key, y_key if y_key in members else None


def _read_rows(name: str, key: str, header: Header, indices: Indices, out: npt.NDArray[Any]) -> None:
    """Write the rows `indices` of the array `key` to `out`."""
    shape, fortran_order, dtype = header
    size, features = shape[0], math.prod(shape[1:])
    with zipfile.ZipFile(name) as archive, opened(archive, key) as (file, now):
        if now != header:
            raise ValueError("it has changed")
        if fortran_order:  # one feature after the other; those of an image column by column
            at_once = max(1, BYTES_AT_ONCE // dtype.itemsize)
            pieces = list(in_pieces(indices, size, at_once))
            for feature in np.arange(features).reshape(shape[1:]).ravel(order="F").tolist():
                for start, places in pieces:
                    count = min(at_once, size - start)
                    piece = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
                    out[places, feature] = piece[indices[places] - start]
            return
        at_once = max(1, BYTES_AT_ONCE // (features * dtype.itemsize))
        for start, places in in_pieces(indices, size, at_once):
            count = min(at_once, size - start) * features
            piece = np.frombuffer(file.read(count * dtype.itemsize), dtype, count).reshape(-1, features)
            out[places] = piece[indices[places] - start]
