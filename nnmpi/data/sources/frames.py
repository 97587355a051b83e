"""Frames in memory: pandas, Polars, and others that export their columns to Arrow."""

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from nnmpi.data.npy import first_line
from nnmpi.data.sources.arrays import as_array, checked_y, has_categories, weights_of
from nnmpi.data.sources.extras import needed
from nnmpi.data.sources.source import Request, Source
from nnmpi.errors import InputError


def is_frame(data: Any) -> bool:
    """Whether `data` is a frame: of pandas from 2.2 on, of Polars, or an Arrow table. A single column is not a frame.

    Raises
    ------
    InputError
        If it is a lazy frame, which has no rows yet.
    """
    if type(data).__name__ == "LazyFrame":
        raise InputError("a LazyFrame has no rows before it is collected: pass frame.collect()")
    return hasattr(data, "__arrow_c_stream__") and any(hasattr(type(data), name) for name in ("columns", "schema"))


def frame_source(
    frame: Any, request: Request, y: npt.ArrayLike | None = None, weights: npt.ArrayLike | None = None
) -> Source:
    """Return the source of the rows of `frame`. Targets and weights are `y` and `weights`, or columns of the frame.

    Raises
    ------
    InputError
        If two columns have the same name, or one cannot be used.
    """
    if y is not None and request.columns.target:
        raise InputError(f"--data {request.name}: both y and --target give the targets: leave out one of them")
    pa = needed("pyarrow", "tables", f"--data {request.name}:")
    from nnmpi.data.sources.arrow import table_source
    from nnmpi.data.sources.arrow_table import Table

    pandas = sys.modules.get("pandas")
    try:
        data = _of_pandas(frame, request) if pandas and isinstance(frame, pandas.DataFrame) else pa.table(frame)
    except pa.ArrowException as error:
        raise InputError(
            f"--data {request.name}: cannot be read ({first_line(error)}): make its columns numbers of 64 bits, "
            "texts or dates"
        ) from None
    names = data.column_names
    if twice := [column for column, count in Counter(names).items() if count > 1]:
        raise InputError(f"--data {request.name}: there are two columns {twice[0]!r}: rename one")

    def batches(columns: list[str], first: int, stop: int) -> Iterator[tuple[int, Any]]:
        row = first
        for batch in data.select(columns).slice(first, stop - first).to_batches():
            yield row, batch
            row += len(batch)

    table = Table(request.name, len(data), dict(zip(names, data.schema.types, strict=True)), batches)
    source = table_source(table, request, has_target=y is None)
    if weights is not None:
        source = dataclasses.replace(source, weights=weights_of(request.name, weights, source.size))
    if y is None:
        return source
    targets = checked_y(request.name, as_array(y, f"--data {request.name}: y"), source.size)
    return dataclasses.replace(source, y=targets, has_categories=has_categories(y))


def _of_pandas(frame: Any, request: Request) -> Any:
    """Return a pandas frame as an Arrow table, with texts as names. Columns that are not needed get no values."""
    import pandas
    import pyarrow as pa

    known = None if request.known is None else {column.name for column in request.known}
    columns = list(frame.items())
    if not isinstance(frame.index, pandas.RangeIndex):  # levels with a name are columns, as in Parquet files
        levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
        columns += [(level, frame.index.get_level_values(level)) for level in levels]
    arrays = []
    for label, values in columns:
        name = str(label)
        if name in request.columns.drop if known is None else name not in known:
            array = pa.nulls(len(frame))
        else:
            if isinstance(values.dtype, pandas.SparseDtype):
                values = values.sparse.to_dense()
            try:
                array = pa.array(values, from_pandas=True)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise InputError(
                    f"--data {request.name}: column {name} of type {values.dtype} cannot be used "
                    f"({first_line(error)}): make its values all numbers or all texts, for example with .astype(str), "
                    f"or leave it out with --drop {name}"
                ) from None
        arrays.append(array)
    return pa.table(arrays, [str(label) for label, _ in columns])
