"""Arrays in memory, and the checks of X and y that are shared by all formats with arrays."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.data.npy import Header, read_rows, read_whole, reading
from nnmpi.data.sources.source import FLOAT64, Source
from nnmpi.data.weights import checked_weights
from nnmpi.errors import InputError

BOOLEANS = (bool, np.bool_)
NUMBERS = (int, float, np.bool_, np.integer, np.floating)
# opens an array in a file; the file is then at its first number
Opener = Callable[[], AbstractContextManager[tuple[IO[bytes], Header]]]


class Layout(NamedTuple):
    """The layout of the samples in an array X."""

    size: int
    features: int
    image: tuple[int, int] | None
    dtype: np.dtype[Any]  # of the numbers, in native byte order


def arrays(
    x: npt.ArrayLike, y: npt.ArrayLike | None, name: str = "arrays", weights: npt.ArrayLike | None = None
) -> Source:
    """Return the source of samples `x`, shape (n, features) or (n, height, width), with targets `y` and `weights`."""
    x = as_array(x, f"--data {name}: X")
    layout = layout_of(name, x.shape, x.dtype)
    rows = x.reshape(layout.size, layout.features)

    def read(indices: Indices, out: Array) -> None:
        out[:] = rows[indices]

    size, features, image, dtype = layout
    targets = None if y is None else checked_y(name, as_array(y, f"--data {name}: y"), size)
    checked = None if weights is None else weights_of(name, weights, size)
    stored = has_categories(y)
    return Source(name, read, size, features, targets, image, dtype, has_categories=stored, weights=checked)


def stored_arrays(
    name: str,
    open_x: Opener,
    open_y: Opener | None,
    files: tuple[str, ...],
    seek: bool,
    x_key: str = "X",
    y_key: str = "y",
) -> Source:
    """Return the source of an array of samples, and one of targets if any, in `files`; `seek` as in `read_rows`.

    Error messages call the arrays `x_key` and `y_key`.
    """
    y = None
    with reading(name):
        with open_x() as (_, header):
            size, features, image, dtype = layout_of(name, header.shape, header.dtype, x_key)
        if open_y:
            with open_y() as (file, y_header):
                check_y(name, y_header.shape, y_header.dtype, size, y_key)
                y = checked_y(name, read_whole(file, y_header), size, y_key)

    def read(indices: Indices, out: Array) -> None:
        # not a memory map: every page read would count as the rank's memory until it is unmapped
        with reading(name), open_x() as (file, header_now):
            if header_now != header:
                raise ValueError("the file has changed")
            read_rows(file, header, indices, out, seek)

    return Source(name, read, size, features, y, image, dtype, files)


def has_categories(y: Any) -> bool:
    """Whether `y` is a pandas column of categories, or a frame of one. The numbers of categories are classes."""
    dtypes = list(getattr(y, "dtypes", ())) if hasattr(y, "columns") else [getattr(y, "dtype", "")]
    return [str(dtype) for dtype in dtypes] == ["category"]


def as_array(values: npt.ArrayLike, what: str) -> Array:
    """Return `values` as an array. Python objects, as in pandas columns, become texts or numbers if all of them are.

    Raises
    ------
    InputError
        If an array cannot hold them, or they are of different types. The message begins with `what`.
    """
    if problem := lost_in_array(values):
        raise InputError(f"{what} {problem}")
    array = np.asarray(values)
    if array.dtype.kind == "U" and isinstance(values, list | tuple):
        array = np.asarray(values, object)  # else numbers and NaN among texts would become texts
    if array.dtype.kind == "T":  # NumPy's strings of variable length
        array = array.astype(object)
    if array.dtype.kind != "O":
        return array
    flat = array.ravel().tolist()
    types = set(map(type, flat))
    alike = any(all(issubclass(t, kinds) for t in types) for kinds in (str, BOOLEANS, NUMBERS))
    if alike and np.timedelta64 not in types:  # which NumPy counts among the integers
        return np.array(array.tolist())
    missing = next((i for i, value in enumerate(flat) if _is_missing(value)), None)
    if missing is not None and array.ndim:
        row = missing * len(array) // array.size
        raise InputError(f"{what} is missing a value in row {row} (from 0): fill it in, or remove such rows")
    if len(types) > 1:
        names = ", ".join(sorted(t.__name__ for t in types))
        raise InputError(
            f"{what} holds values of different types ({names}): make all of them numbers or all of them texts"
        )
    return array


def _is_missing(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def lost_in_array(values: Any) -> str:
    """Return why an array cannot hold `values`, with the remedy; "" if it can."""
    if hasattr(values, "toarray"):
        return "is a sparse matrix: use its method toarray()"
    if hasattr(values, "mask") and np.ma.is_masked(values):  # np.ma takes 20 ms to import
        return "has masked values: fill them in with its method filled(), or remove these rows"
    return ""


def layout_of(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], key: str = "X") -> Layout:
    """Return the layout of an array of this shape and type. Error messages call the array `key`.

    Raises
    ------
    InputError
        If the array does not hold numbers, or its samples do not have one or two dimensions, or it is empty.
    """
    if dtype.kind not in "fiub" or len(shape) not in (2, 3) or 0 in shape:
        raise InputError(
            f"--data {name}: {key} must hold numbers, of shape (samples, features) or (samples, height, width), and "
            f"not be empty; it has shape {shape}, type {dtype}{_remedy(key, shape, dtype)}"
        )
    native = FLOAT64 if dtype.kind == "f" and dtype.itemsize > 8 else dtype.newbyteorder("=")
    return Layout(shape[0], math.prod(shape[1:]), (shape[1], shape[2]) if len(shape) == 3 else None, native)


def _remedy(key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    if dtype.kind in "OSU":
        return f": save {key}.astype(float)"
    if len(shape) == 1 and dtype.kind in "fiub":
        return f": save {key}.reshape(-1, 1) if each sample is one number"
    return f": save {key}.reshape(len({key}), -1)" if len(shape) > 3 and 0 not in shape else ""


def check_y(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], rows: int, key: str = "y") -> tuple[int, ...]:
    """Return the shape of the targets of `rows` samples; (rows, 1) becomes (rows,).

    Raises
    ------
    InputError
        If an array of this shape and type cannot be their targets.
    """
    if len(shape) == 2 and shape[1] == 1:
        shape = shape[:1]
    shaped = len(shape) == 1 or (len(shape) == 2 and dtype.kind in "fiub" and shape[1] > 0)
    if dtype.kind not in "fiubUS" or not shaped or shape[0] != rows:
        raise InputError(
            f"--data {name}: {key} must hold a class (whole number, boolean or string) or a number (floating) for each "
            f"of the {rows} rows of X, or several numbers; it has shape {shape}, type {dtype}"
            + (f": save {key}.astype(str) or {key}.astype(float)" if dtype.kind == "O" else "")
        )
    return shape


def checked_y(name: str, y: Array, rows: int, key: str = "y") -> Array:
    """Return the targets `y` of `rows` samples: bytes become text, shape (rows, 1) becomes (rows,).

    Raises
    ------
    InputError
        If `y` cannot be their targets.
    """
    y = y.reshape(check_y(name, y.shape, y.dtype, rows, key))
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError:
            raise InputError(
                f"--data {name}: {key} holds bytes that are not UTF-8: save numpy.char.decode({key}, 'latin-1'), "
                "or with the encoding that they have"
            ) from None
    if y.dtype.kind == "U" and not are_characters(y):
        raise InputError(f"--data {name}: {key} holds strings with invalid Unicode")
    return y


def weights_of(name: str, weights: npt.ArrayLike, rows: int) -> Floats:
    """Check the argument ``sample_weight``; return it as float64."""
    return checked_weights(name, as_array(weights, f"--data {name}: sample_weight"), rows, "sample_weight")


def are_characters(strings: npt.NDArray[np.str_]) -> bool:
    """Whether `strings` hold only valid Unicode: no code points above U+10FFFF and no surrogates."""
    if not strings.itemsize:
        return True
    code_points = np.ascontiguousarray(strings).view(np.dtype(np.uint32).newbyteorder(strings.dtype.byteorder))
    return not ((code_points > 0x10FFFF) | ((code_points >= 0xD800) & (code_points < 0xE000))).any()
