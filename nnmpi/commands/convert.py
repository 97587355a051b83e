"""The command ``convert``: CSV files to one Parquet file, from which each rank reads only its own rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnmpi.data.sources import Request
from nnmpi.data.sources.extras import needed
from nnmpi.errors import InputError
from nnmpi.files.atomic import whole_file
from nnmpi.text import printable

ROWS = 1 << 17  # rows of a row group, the smallest unit that a rank reads
BYTES = 1 << 26  # bytes in memory of a row group; the limit for tables of many columns


def convert(data: str, out: Path) -> None:
    """Write the table `data`, a CSV file or a directory of them, to the Parquet file `out`, block by block.

    Columns get the types that ``train`` finds in them, so that a training gives the same result with both files.

    Raises
    ------
    InputError
        If `data` is not CSV or cannot be read, or if `out` exists, cannot be written or does not end in .parquet.
    """
    pa = needed("pyarrow", "tables", f"{data}:")
    from pyarrow import parquet

    from nnmpi.data.sources import csv

    if out.suffix != ".parquet":
        raise InputError(f"{out}: allowed is a file that ends in .parquet")
    if out.exists():
        raise InputError(f"{out} already exists; remove it, or choose another name")
    try:
        table = csv.open_table(Request(data))
    except InputError as error:
        raise InputError(str(error).replace("--data ", "")) from None
    schema = pa.schema(list(table.types.items()))
    try:
        with whole_file(out, sync=False) as file, parquet.ParquetWriter(file, schema) as writer:
            for group in _groups(pa, table):
                writer.write_table(group)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    print(f"{table.size} rows and {len(table.types)} columns written to {printable(str(out))}")


def _groups(pa: Any, table: Any) -> Iterator[Any]:
    """Yield the rows of the table as row groups."""
    batches: list[Any] = []
    for _, batch in table.batches(list(table.types), 0, table.size):
        batches.append(batch)
        if sum(map(len, batches)) >= ROWS or sum(b.nbytes for b in batches) >= BYTES:
            yield pa.Table.from_batches(batches)
            batches = []
    if batches:
        yield pa.Table.from_batches(batches)
