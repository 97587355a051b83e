"""Where samples come from. A source names all its targets and gives any of its rows on demand.

A rank asks for the rows of its own shards only, so that no rank holds the whole data set.
"""

import importlib.util
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.npz import DAMAGE, Header, are_characters, first_line, opened
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.errors import InputError
from nnmpi.memory import check_memory

Indices = npt.NDArray[np.intp]
Array = npt.NDArray[np.floating]
FLOAT64 = np.dtype(np.float64)

BUILT_IN = ("digits", "iris", "wine", "breast_cancer", "diabetes")
TABLES = {  # scikit-learn's file, and how many lines of it come before the numbers; diabetes it computes from its file
    "digits": ("digits.csv.gz", 0),
    "iris": ("iris.csv", 1),
    "wine": ("wine_data.csv", 1),
    "breast_cancer": ("breast_cancer.csv", 1),
}
ROWS_AT_ONCE = 4096  # of a random source's block; a part of what its numbers are, never change it
MOST_UNTRUSTED = 10**8  # numbers that are made up because a file says so
BYTES_AT_ONCE = 1 << 24  # read from a file


@dataclass(frozen=True)
class Source:
    """A table of samples.

    Attributes
    ----------
    name : str
        As given by ``--data``.
    read : function
        From row numbers, shape (n,), and an array, shape (n, features): writes the features of those rows to it.
    size, features : int
    y : array, shape (size,) or (size, outputs), or None
        Class labels (whole numbers, booleans or strings) or, if floating, numbers to predict.
    image : (height, width) or None
        Set where the features are the pixels of an image, row by row.
    dtype : numpy.dtype
        The stored number type of the features, in native byte order.
    """

    name: str
    read: Callable[[Indices, Array], None]
    size: int
    features: int
    y: npt.NDArray[Any] | None
    image: tuple[int, int] | None = None
    dtype: np.dtype[Any] = FLOAT64


def open_source(name: str, targets: bool = True, trusted: bool = True) -> Source:
    """The source called `name` (see ``--data``); without `targets` a file may lack ``y``.

    A name that no user gave, but a file, is not `trusted`: it cannot ask for much memory with a few characters.

    Raises
    ------
    InputError
        If there is no such source or file, or it cannot be used.
    """
    if name in BUILT_IN:
        return _built_in(name)
    if name.startswith("random:"):
        return _synthetic(name, trusted)
    path = Path(name)
    if path.suffix == ".npz" and os.path.isfile(path):  # not a pipe or a device: to read one may never end
        return _npz(name, targets)
    if path.suffix == ".npz" or "/" in name:
        reason = "no such file" if not os.path.exists(path) else "not a file that ends in .npz"
        raise InputError(f"--data {name}: {reason}")
    raise InputError(
        f"--data {name}: unknown; allowed are {', '.join(BUILT_IN)}, random:ROWSxFEATURESxCLASSES "
        "and the path of an .npz file"
    )


def _in_memory(name: str, x: npt.NDArray[Any], y: npt.NDArray[Any] | None, image: Any = None) -> Source:
    def read(indices: Indices, out: Array) -> None:
        out[:] = x[indices]

    return Source(name, read, x.shape[0], x.shape[1], y, image, x.dtype)


def _built_in(name: str) -> Source:
    image = (8, 8) if name == "digits" else None
    if name in TABLES:
        file, head = TABLES[name]
        found = importlib.util.find_spec("sklearn")  # imports nothing
        path = Path(found.origin).parent / "datasets" / "data" / file if found and found.origin else None
        if path and path.is_file():  # what scikit-learn reads; importing it takes a second or two and 90 MB
            numbers = np.loadtxt(path, delimiter=",", skiprows=head)
            return _in_memory(name, numbers[:, :-1], numbers[:, -1].astype(int), image)
    import sklearn.datasets

    table = getattr(sklearn.datasets, f"load_{name}")()
    return _in_memory(name, table.data, table.target, image)


def _synthetic(name: str, trusted: bool) -> Source:
    """``random:ROWSxFEATURESxCLASSES``: classes in turn, each a cloud around a centre of its own.

    Rows are made in blocks of `ROWS_AT_ONCE`, each with its own stream, so that any of them can be had without the
    others being kept.
    """
    match = re.fullmatch(r"random:(\d{1,12})x(\d{1,9})x(\d{1,9})", name)
    size, features, classes = map(int, match.groups()) if match else (0, 0, 0)
    if features < 1 or classes < 2 or size < classes:
        raise InputError(
            f"--data {name}: write random:ROWSxFEATURESxCLASSES in whole numbers, "
            "with 1 feature, 2 classes and as many rows as classes at the least"
        )
    if not trusted and size * features + 8 * size + classes * features > MOST_UNTRUSTED:
        raise InputError(f"--data {name}: so much is made up only if you ask for it")
    check_memory(32 * size + 4 * (classes + 2 * ROWS_AT_ONCE) * features, f"--data {name}")
    y = np.resize(np.arange(classes, dtype=np.int32), size)

    def read(indices: Indices, out: Array) -> None:
        centres = stream(0, Purpose.SYNTHETIC).random((classes, features), np.float32)
        for start, places in _in_pieces(indices, size, ROWS_AT_ONCE):
            cloud = stream(0, Purpose.SYNTHETIC, epoch=1, step=start)
            noise = cloud.random((ROWS_AT_ONCE, features), np.float32)
            wanted = indices[places]
            out[places] = noise[wanted - start] + centres[y[wanted]]

    return Source(name, read, size, features, y, dtype=np.dtype(np.float32))


def _npz(name: str, targets: bool) -> Source:
    """An ``.npz`` file with ``X``, shape (n, features) or (n, height, width), and ``y``, read without pickle.

    ``X`` is read in pieces of which only the wanted rows are kept.
    """
    try:
        with zipfile.ZipFile(name) as archive:
            members = set(archive.namelist())
            for needed in ("X", "y") if targets else ("X",):
                if f"{needed}.npy" not in members:
                    raise InputError(f"--data {name}: has no array {needed}")
            with opened(archive, "X") as (_, header):
                shape, fortran_order, dtype = header
            if dtype.kind not in "fiub" or len(shape) not in (2, 3) or fortran_order or 0 in shape:
                raise InputError(
                    f"--data {name}: X must hold numbers, row by row, of shape (samples, features) or "
                    f"(samples, height, width) and not be empty; it has shape {shape}, type {dtype}"
                    + (" and is in Fortran order" if fortran_order else "")
                )
            y = None
            if "y.npy" in members:
                with opened(archive, "y") as (file, header_of_y):
                    y = _read_targets(name, file, header_of_y, shape[0])
    except DAMAGE as error:
        raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None
    size, features = shape[0], math.prod(shape[1:])

    def read(indices: Indices, out: Array) -> None:
        at_once = max(1, BYTES_AT_ONCE // (features * dtype.itemsize))
        try:
            with zipfile.ZipFile(name) as archive, opened(archive, "X") as (file, now):
                if now != header:
                    raise ValueError("it has changed")
                for start, places in _in_pieces(indices, size, at_once):
                    count = min(at_once, size - start) * features
                    piece = np.frombuffer(file.read(count * dtype.itemsize), dtype, count).reshape(-1, features)
                    out[places] = piece[indices[places] - start]
        except DAMAGE as error:
            raise InputError(f"--data {name}: cannot be read ({first_line(error)})") from None

    image = (shape[1], shape[2]) if len(shape) == 3 else None
    return Source(name, read, size, features, y, image, dtype.newbyteorder("="))


def _in_pieces(indices: Indices, size: int, at_once: int) -> Iterator[tuple[int, Indices]]:
    """Each piece ``[start, start + at_once)`` of `size` rows: its start and where in `indices` its rows stand."""
    ascending = np.argsort(indices)
    starts = np.arange(0, size, at_once)
    ends = np.searchsorted(indices, [*starts[1:], size], sorter=ascending)
    for start, places in zip(starts, np.split(ascending, ends[:-1]), strict=True):
        yield int(start), places


def _read_targets(name: str, file: IO[bytes], header: Header, rows: int) -> npt.NDArray[Any]:
    shape, fortran_order, dtype = header
    if len(shape) == 2 and shape[1] == 1:
        shape = shape[:1]
    shaped = len(shape) == 1 or (len(shape) == 2 and dtype.kind == "f" and shape[1] > 0)
    if dtype.kind not in "fiubU" or not shaped or shape[0] != rows:
        raise InputError(
            f"--data {name}: y must hold a class (whole number, boolean or string) or a number (floating) for each "
            f"of the {rows} rows of X; it has shape {shape}, type {dtype}"
        )
    y = np.ndarray(shape, dtype, file.read(), order="F" if fortran_order else "C")
    if dtype.kind == "U" and not are_characters(y):
        raise InputError(f"--data {name}: y holds strings of what are no characters")
    return y
