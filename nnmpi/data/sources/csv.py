"""CSV and TSV files, plain or gzipped, and directories of them, read by PyArrow in blocks.

The kind of a column is the narrowest that fits its values in all files, so that it is the same on all ranks.
"""

import csv as python_csv
import gzip
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from nnmpi.data.npy import DAMAGE, first_line
from nnmpi.data.sources.extras import needed
from nnmpi.data.sources.files import files_of
from nnmpi.data.sources.source import Request, Source
from nnmpi.errors import InputError

BLOCK = 1 << 22  # bytes parsed at once, at least; a row must fit
BYTES_PER_FIELD = 64  # of a block, for tables of many columns: longer than most numbers and names
LONGEST_LINE = 1 << 26  # characters of the line of column names
LARGE = 1 << 30  # bytes from which on converting the file to Parquet pays off
DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}  # the first one that gives more than one column is used
MAY_BE_THOUSANDS = r"^[^,]*$|^\s*[+-]?[1-9]\d{0,2},\d{3}\s*$"  # no comma, or 1,234
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
    from nnmpi.data.sources.csv_kinds import kinds_of, parse, parsers_of_kinds

    name, paths = request.name, files_of(request.name, SUFFIXES)
    header, delimiter = _header(paths[0])
    for path in paths[1:]:
        if _header(path) != (header, delimiter):
            raise InputError(f"--data {name}: {path} has other columns or another delimiter than {paths[0]}")
    parsers = parsers_of_kinds()
    texts = {column.name for column in request.known or () if column.kind == "text"}
    texts.update(request.columns.target if request.columns.target_is_text else ())
    candidates = {column: ["text"] if column in texts else list(parsers) for column in header}
    if delimiter == ",":
        candidates = {
            column: [kind for kind in kinds if kind != "decimal comma"] for column, kinds in candidates.items()
        }
    size = 0
    for batch in _strings(paths, header, delimiter, len(header)):
        size += len(batch)
        for column, values in zip(header, batch.columns, strict=True):
            if values.null_count < len(values) and len(candidates[column]) > 1:
                candidates[column] = kinds_of(values, candidates[column], parsers)
    kinds = {column: candidates[column][0] for column in header}
    if delimiter != ";":
        _check_decimal_commas(name, paths, [c for c in header if kinds[c] == "decimal comma"], delimiter, len(header))
    types = {column: parsers[kinds[column]](pa.nulls(0, pa.string())).type for column in header}

    def batches(columns: list[str], first: int, stop: int) -> Iterator[tuple[int, Any]]:
        row = 0
        for batch in _strings(paths, columns, delimiter, len(header)):
            if row + len(batch) > first:
                try:
                    pairs = zip(columns, batch.columns, strict=True)
                    values = [parse(strings, parsers[kinds[column]]) for column, strings in pairs]
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


def _check_decimal_commas(name: str, paths: list[str], columns: list[str], delimiter: str, fields: int) -> None:
    """Refuse `columns` of numbers whose commas may all separate thousands."""
    import pyarrow.compute as pc

    unclear = columns
    for batch in _strings(paths, columns, delimiter, fields) if columns else ():
        matches = {column: pc.match_substring_regex(batch.column(column), MAY_BE_THOUSANDS) for column in unclear}
        unclear = [column for column in unclear if pc.all(matches[column], min_count=0).as_py()]
    if unclear:
        raise InputError(
            f"--data {name}: the commas in column {unclear[0]} may be decimal commas or separate thousands, as in "
            "1,234: write the numbers with a decimal point and without thousands separators, or separate the fields by "
            "semicolons if these are decimal commas"
        )


def _strings(paths: list[str], columns: list[str], delimiter: str, fields: int) -> Iterator[Any]:
    """Yield the `columns` of all files, whose rows have `fields` fields, as texts, block by block."""
    import pyarrow as pa
    from pyarrow import csv

    from nnmpi.data.sources.csv_kinds import null_values

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.string()),
        include_columns=columns,
        null_values=null_values(),
        strings_can_be_null=True,
    )
    read = csv.ReadOptions(block_size=max(BLOCK, BYTES_PER_FIELD * fields), use_threads=False)
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
    headers: dict[str, list[str]] = {}
    problem: Exception | None = None
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            for delimiter in DELIMITERS[".tsv" if ".tsv" in path[-7:] else ".csv"]:
                file.seek(0)
                lines = iter(partial(file.readline, LONGEST_LINE), "")
                try:
                    headers[delimiter] = next(python_csv.reader(lines, delimiter=delimiter), [])
                except python_csv.Error as error:  # a long line is too much for one field of another delimiter
                    problem = error
        if problem and not headers:
            raise problem
    except UnicodeDecodeError:
        raise InputError(
            f"--data {path}: is not UTF-8; convert it, for example with iconv -f LATIN1 -t UTF-8"
        ) from None
    except (*DAMAGE, python_csv.Error) as error:
        raise InputError(f"--data {path}: cannot be read ({first_line(error)})") from None
    delimiter = next((d for d, header in headers.items() if len(header) > 1), next(iter(headers)))
    header = headers[delimiter]
    if not header:
        raise InputError(f"--data {path}: is empty; its first line must hold the names of the columns")
    if duplicates := [column for column, count in Counter(header).items() if count > 1]:
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
