"""Arrays in memory, and what arrays X and y must be in every format that has them."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.data.sources.source import FLOAT64, Indices, Source
from nnmpi.errors import InputError


class Layout(NamedTuple):
    """How the samples of an array X are laid out."""

    size: int
    features: int
    image: tuple[int, int] | None
    dtype: np.dtype[Any]  # of the numbers, in native byte order


def arrays(
    x: npt.ArrayLike, y: npt.ArrayLike | None, name: str = "arrays", weights: npt.ArrayLike | None = None
) -> Source:
    """The source of samples `x`, shape (n, features) or (n, height, width), with targets `y` and `weights`."""
    x = without_objects(x)
    layout = layout_of(name, x.shape, x.dtype)
    rows = x.reshape(layout.size, layout.features)

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        out[:] = rows[indices]

    size, features, image, dtype = layout
    targets = None if y is None else checked_y(name, without_objects(y), size)
    checked = None if weights is None else checked_weights(name, np.asarray(weights), size, "sample_weight")
    return Source(name, read, size, features, targets, image, dtype, weights=checked)


def without_objects(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """`values` as an array; Python objects in it become texts if all are, or numbers, as pandas' columns have them."""
    array = np.asarray(values)
    if array.dtype.kind != "O":
        return array
    types = {type(value) for value in array.ravel().tolist()}
    if types <= {str} or types <= {bool} or types <= {int, float, bool}:
        return np.array(array.tolist())
    return array


def layout_of(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], key: str = "X") -> Layout:
    """The layout of an array of this shape and type, called `key` where it comes from.

    Raises
    ------
    InputError
        If it holds no numbers, or no samples of one or two dimensions.
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
    """The shape of the targets of `rows` samples; a column counts as a row.

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


def checked_y(name: str, y: npt.NDArray[Any], rows: int, key: str = "y") -> npt.NDArray[Any]:
    """The targets `y` of `rows` samples: bytes as text, a column as a row.

    Raises
    ------
    InputError
        If they are none.
    """
    y = y.reshape(check_y(name, y.shape, y.dtype, rows, key))
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError:
            raise InputError(
                f"--data {name}: {key} holds bytes that are not UTF-8: save numpy.char.decode({key}, 'latin-1'), "
                "or whichever encoding they have"
            ) from None
    if y.dtype.kind == "U" and not are_characters(y):
        raise InputError(f"--data {name}: {key} holds strings with invalid Unicode")
    return y


def checked_weights(name: str, weights: npt.NDArray[Any], rows: int, key: str) -> npt.NDArray[np.float64]:
    """The weights of `rows` samples in float64.

    Raises
    ------
    InputError
        If they are not a number from 0 for each sample, or all 0.
    """
    where = f"--data {name}: the sample weights {key}"
    if weights.dtype.kind not in "fiub" or weights.size != rows or weights.shape[0] != rows:
        raise InputError(
            f"{where} have shape {weights.shape}, type {weights.dtype}; a number for each of the {rows} rows is needed"
        )
    numbers = weights.reshape(rows).astype(np.float64)
    bad = np.flatnonzero(~((numbers >= 0) & (numbers < np.inf)))
    if len(bad):
        raise InputError(f"{where} are {numbers[bad[0]]:g} in row {bad[0]} (from 0); allowed are numbers from 0")
    check_largest_weight(numbers, where)
    return numbers


def check_largest_weight(weights: npt.NDArray[np.float64], what: str) -> None:
    """Refuse weights whose sums, or products with each other, would leave the range of float64.

    Raises
    ------
    InputError
        That begins with `what` they are.
    """
    largest = weights.max(initial=0.0)
    if largest == 0:
        raise InputError(f"{what} are all 0")
    if not 1e-100 <= largest <= 1e100:
        raise InputError(
            f"{what} are at most {largest:g}; the largest must be from 1e-100 to 1e+100: multiply all of them by one "
            "number, which changes no result"
        )


def are_characters(strings: npt.NDArray[np.str_]) -> bool:
    """Whether all that `strings` hold is Unicode: neither numbers beyond it nor halves of surrogate pairs."""
    if not strings.itemsize:
        return True
    numbers = np.ascontiguousarray(strings).view(np.dtype(np.uint32).newbyteorder(strings.dtype.byteorder))
    return not ((numbers > 0x10FFFF) | ((numbers >= 0xD800) & (numbers < 0xE000))).any()
