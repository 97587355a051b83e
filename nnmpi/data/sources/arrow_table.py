"""A table in blocks of Arrow memory, and the conversion of Arrow's types and values to NumPy's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nnmpi.arrays import Array, Indices
from nnmpi.errors import InputError


@dataclass(frozen=True)
class Table:
    """A table in blocks of rows.

    Attributes
    ----------
    types : dict
        The type of each column, the same for all rows.
    batches : function
        Takes column names, a first row and a stop row. Yields blocks that contain these rows, each with the number of
        its first row. It may yield more rows than requested.
    bounds : tuple of int
        Where the pieces begin, and where the last one ends. Each piece can be read without the others.
    note : str
        What a user should know about how the table is read.
    """

    name: str
    size: int
    types: dict[str, pa.DataType]
    batches: Callable[[list[str], int, int], Iterator[tuple[int, pa.RecordBatch]]]
    note: str = ""
    files: tuple[str, ...] = ()
    bounds: tuple[int, ...] = ()


def is_text(dtype: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    if pa.types.is_dictionary(dtype):
        return is_text(dtype.value_type)
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def is_number(dtype: pa.DataType) -> bool:
    """Whether a column of this type holds numbers, booleans, times or durations, also as categories."""
    t = pa.types
    if t.is_dictionary(dtype):
        return is_number(dtype.value_type)
    checks = (t.is_integer, t.is_floating, t.is_boolean, t.is_decimal, t.is_time, t.is_duration)
    return any(check(dtype) for check in checks)


def is_empty(dtype: pa.DataType) -> bool:
    """Whether a column of this type holds no value in any row."""
    return bool(pa.types.is_null(dtype) or (pa.types.is_dictionary(dtype) and pa.types.is_null(dtype.value_type)))


def decoded(values: pa.Array) -> pa.Array:
    """Return the values themselves of a column of categories, and other columns as they are."""
    return taken(values.dictionary, values.indices) if pa.types.is_dictionary(values.type) else values


def taken(values: pa.Array, rows: pa.Array) -> pa.Array:
    """Return some rows of a column. PyArrow's own ``take`` does not know string views, which Polars has."""
    return (values.cast(pa.large_string()) if pa.types.is_string_view(values.type) else values).take(rows)


def texts_of(values: pa.Array, column: str) -> list[str | None]:
    """Return the texts of a column; errors call it `column`. PyArrow does not check that those of files are UTF-8."""
    try:
        texts: list[str | None] = values.to_pylist()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{column} holds {error.object[:40]!r}, which is not UTF-8: write the file again with all texts in UTF-8"
        ) from None
    return texts


def in_float64(values: pa.Array) -> pa.Array:
    """Return numbers as float64, each the nearest. PyArrow's own cast of decimals misses it: 15.000000000 ≠ 15."""
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.string())
    if pa.types.is_float16(values.type):
        values = values.cast(pa.float32())
    return values.cast(pa.float64(), safe=False)


def to_numpy(values: pa.Array, missing: float = 0) -> Array:
    """Return numbers as an array. PyArrow's own ``to_numpy`` imports pandas if it is installed, which takes 40 MB."""
    names = {"halffloat": "float16", "float": "float32", "double": "float64"}
    dtype = np.dtype(names.get(str(values.type), str(values.type)))
    data = values.buffers()[1] if len(values) else b""
    numbers = np.frombuffer(data, dtype, len(values), values.offset * dtype.itemsize)
    if values.null_count:
        absent = to_numpy(values.is_null().cast(pa.uint8())).astype(np.bool_)
        numbers = np.where(absent, np.asarray(missing, dtype), numbers)
    return numbers


def from_numpy(rows: Indices) -> pa.Array:
    """Return row numbers as an Arrow array, also without importing pandas."""
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))])
