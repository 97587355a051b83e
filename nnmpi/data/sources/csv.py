"""CSV and TSV files, plain or gzipped, and directories of them, read by PyArrow in blocks.

The kind of a column is the narrowest that fits its values in all files, so that it is the same on all ranks.
"""

import csv as python_csv
import gzip
import os
from collections.abc import Callable, Iterator
from typing import Any

from nnmpi.data.npy import DAMAGE, first_line
from nnmpi.data.sources.extras import needed
from nnmpi.data.sources.files import files_of
from nnmpi.data.sources.source import Request, Source
from nnmpi.errors import InputError

BLOCK = 1 << 22  # bytes parsed at once
LARGE = 1 << 30  # bytes from which on converting the file to Parquet pays off
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}  # the first one that gives more than one column is used
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def open_source(request: Request) -> Source:
    """Open the file, or all files of the directory in the order of their names."""
    needed("pyarrow.csv", "tables", f"--data {request.name}:")
    from nnmpi.data.sources.arrow import table_source

    return table_source(open_table(request), request)


def open_table(request: Request) -> Any:
    """Open the table of all files. They are read once to find the kinds of columns and the number of rows."""
    import pyarrow as pa

    from nnmpi.data.sources.arrow_table import Table

    name, paths = request.name, files_of(request.name, SUFFIXES)
    header, delimiter = _header(paths[0])
    for path in paths[1:]:
        if _header(path) != (header, delimiter):
            raise InputError(f"--data {name}: {path} has other columns or another delimiter than {paths[0]}")
    parsers = _parsers()
    texts = {column.name for column in request.known or () if column.kind == "text"}
    candidates = {column: ["text"] if column in texts else list(parsers) for column in header}
    if delimiter == ",":
        candidates = {
            column: [kind for kind in kinds if kind != "decimal comma"] for column, kinds in candidates.items()
        }
    empty_columns = set(header)
    size = 0
    for batch in _strings(paths, header, delimiter):
        size += len(batch)
        for column, values in zip(header, batch.columns, strict=True):
            if values.null_count < len(values):
                empty_columns.discard(column)
                if len(candidates[column]) > 1:
                    candidates[column] = [kind for kind in candidates[column] if _can_parse(values, parsers[kind])]
    kinds = {column: candidates[column][0] for column in header}
    types = {
        column: pa.null() if column in empty_columns else parsers[kinds[column]](pa.nulls(0, pa.string())).type
        for column in header
    }

    def batches(columns: list[str], first: int, stop: int) -> Iterator[tuple[int, Any]]:
        row = 0
        for batch in _strings(paths, columns, delimiter):
            if row + len(batch) > first:
                try:
                    values = [parsers[kinds[c]](strings) for c, strings in zip(columns, batch.columns, strict=True)]
                except pa.ArrowInvalid as error:
                    raise InputError(f"--data {name}: has changed ({first_line(error)})") from None
                yield row, pa.record_batch(values, columns)
            row += len(batch)
            if row >= stop:
                return

    note = ""
    if sum(map(os.path.getsize, paths)) >= LARGE:
        note = (
            f"note: each rank reads all of {name}; of a Parquet file it reads only its own rows: nnmpi convert {name} "
            "table.parquet"
        )
    return Table(name, size, types, batches, note, tuple(paths))


def _parsers() -> dict[str, Callable[[Any], Any]]:
    """Return a parser of texts for each kind of column, narrowest first. It raises ArrowInvalid for other texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def number(strings: Any) -> Any:
        return pc.utf8_trim_whitespace(strings).cast(pa.float64())

    def whole(strings: Any, dtype: Any) -> Any:
        number(strings)  # refuses 0x10
        return pc.utf8_trim_whitespace(strings).cast(dtype)

    return {
        "whole number": lambda strings: whole(strings, pa.int64()),
        "large whole number": lambda strings: whole(strings, pa.uint64()),
        "number": number,
        "truth": lambda strings: pc.utf8_trim_whitespace(strings).cast(pa.bool_()),
        "date": lambda strings: strings.cast(pa.date32()),
        "time": lambda strings: strings.cast(pa.timestamp("us")),
        "zoned time": lambda strings: strings.cast(pa.timestamp("us", "UTC")),
        "decimal comma": lambda strings: number(pc.replace_substring(strings, ",", ".")),
        "text": lambda strings: strings,
    }


def _can_parse(strings: Any, parser: Callable[[Any], Any]) -> bool:
    import pyarrow as pa

    try:
        parser(strings)
    except pa.ArrowInvalid:
        return False
    return True


def _strings(paths: list[str], columns: list[str], delimiter: str) -> Iterator[Any]:
    """Yield the `columns` of all files as texts, block by block."""
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()),
        include_columns=columns,
        null_values=[*csv.ConvertOptions().null_values, "<NA>"],
        strings_can_be_null=True,
    )
    read = csv.ReadOptions(block_size=BLOCK, use_threads=False)
    for path in paths:
        try:
            with pa.input_stream(path, compression="gzip" if path.endswith(".gz") else None) as file:
                yield from csv.open_csv(file, read, parse, convert)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InputError(
                f"--data {path}: cannot be read ({first_line(error)}){_advice(str(error), delimiter)}"
            ) from None


def _advice(error: str, delimiter: str) -> str:
    if "UTF8" in error:
        return ": it is not UTF-8; convert it, for example with iconv -f LATIN1 -t UTF-8"
    if "columns, got" in error:
        return f": each row needs as many fields as there are column names, separated by {delimiter!r}"
    return ""


def _header(path: str) -> tuple[list[str], str]:
    """Return the names of the columns, and the delimiter."""
    opener: Any = gzip.open if path.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            text = file.read(1 << 20)
        suffix = ".tsv" if ".tsv" in path[-7:] else ".csv"
        headers = {
            d: next(python_csv.reader(text.splitlines(keepends=True), delimiter=d), []) for d in DELIMITERS[suffix]
        }
    except UnicodeDecodeError:
        raise InputError(
            f"--data {path}: is not UTF-8; convert it, for example with iconv -f LATIN1 -t UTF-8"
        ) from None
    except (*DAMAGE, python_csv.Error) as error:
        raise InputError(f"--data {path}: cannot be read ({first_line(error)})") from None
    delimiter = next((d for d, header in headers.items() if len(header) > 1), DELIMITERS[suffix][0])
    header = headers[delimiter]
    if not header:
        raise InputError(f"--data {path}: is empty; its first line must hold the names of the columns")
    duplicates = [column for column in header if header.count(column) > 1]
    if duplicates:
        raise InputError(f"--data {path}: there are two columns {duplicates[0]!r}: rename one")
    if all(_is_number(column) for column in header):
        raise InputError(f"--data {path}: its first line holds numbers; it must hold the names of the columns")
    return header, delimiter


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
