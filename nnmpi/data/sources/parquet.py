"""Parquet files and directories of them, read by PyArrow: only the row groups that hold requested rows."""

import base64
import contextlib
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from nnmpi.data.npy import first_line
from nnmpi.data.sources.extras import needed
from nnmpi.data.sources.files import files_of
from nnmpi.data.sources.source import Request, Source
from nnmpi.errors import InputError

ROWS_AT_ONCE = 1 << 15
BUFFER = 1 << 20  # bytes of a column read at once


def open_source(request: Request) -> Source:
    """Open the file, or all files of the directory in the order of their names."""
    needed("pyarrow.parquet", "tables", f"--data {request.name}:")
    from nnmpi.data.sources.arrow import table_source

    return table_source(open_table(request.name), request)


def open_table(name: str) -> Any:
    """Open the table of all files."""
    from nnmpi.data.sources.arrow_table import Table

    paths = files_of(name, (".parquet",))
    types: dict[str, Any] = {}
    footers: dict[str, Any] = {}  # of each file, so that it is not read again for each group
    groups: list[tuple[str, int, int]] = []  # the file, its row group, the rows in it
    for path in paths:
        with _opened(path) as file:
            footers[path] = file.metadata
            columns = _columns(file)
            if types and list(types.items()) != columns:
                raise InputError(f"--data {name}: {path} has other columns or column types than {paths[0]}")
            types = dict(columns)
            if len(types) < len(columns):
                raise InputError(f"--data {name}: has two columns with the same name: rename one")
            groups += [(path, i, file.metadata.row_group(i).num_rows) for i in range(file.metadata.num_row_groups)]

    def batches(columns: list[str], first: int, stop: int) -> Iterator[tuple[int, Any]]:
        row = 0
        for path, group, rows in groups:
            if row + rows > first and row < stop:
                with _opened(path, footers[path]) as file:
                    for start, batch in _read_group(file, path, group, columns):
                        if row + start >= stop:
                            break
                        if row + start + len(batch) > first:
                            yield row + start, batch.select(columns)
            row += rows

    bounds = tuple(accumulate((rows for _, _, rows in groups), initial=0))
    return Table(name, sum(rows for _, _, rows in groups), types, batches, files=tuple(paths), bounds=bounds)


def _read_group(file: Any, path: str, group: int, columns: list[str]) -> Iterator[tuple[int, Any]]:
    """Yield the blocks of a row group, each with the number of its first row in the group."""
    row, rows = 0, file.metadata.row_group(group).num_rows
    for batch in file.iter_batches(ROWS_AT_ONCE, [group], columns, use_threads=False):
        yield row, batch
        row += len(batch)
    if row != rows:
        raise InputError(f"--data {path}: is damaged: row group {group} holds {row} rows and should hold {rows}")


def _columns(file: Any) -> list[tuple[str, Any]]:
    """Return name and type of each column.

    PyArrow reads categories that are numbers as plain numbers; that they are categories is in the Arrow schema that the
    file contains. The type of the codes of categories depends on their number, which may differ between files.
    """
    import pyarrow as pa

    schema = file.schema_arrow
    written = (file.metadata.metadata or {}).get(b"ARROW:schema")
    stored = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(written))) if written else schema
    categories = {field.name for field in stored if pa.types.is_dictionary(field.type)}
    columns = []
    for field in schema:
        dtype = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        columns.append((field.name, pa.dictionary(pa.int32(), dtype) if field.name in categories else dtype))
    return columns


@contextlib.contextmanager
def _opened(path: str, footer: Any = None) -> Iterator[Any]:
    """Open a file that is read in small steps; errors become an `InputError` of one line."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, metadata=footer, pre_buffer=False, buffer_size=BUFFER) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise InputError(f"--data {path}: cannot be read ({first_line(error)})") from None
