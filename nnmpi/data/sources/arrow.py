"""Sources from Arrow tables: the code that CSV files, Parquet files and frames share.

Like the modules arrow_reader, arrow_table and csv_kinds it needs PyArrow. Importers check first that this is installed.
"""

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnmpi.arrays import Array, Floats
from nnmpi.data.columns import DATE_PARTS, Column
from nnmpi.data.sources.arrays import checked_y
from nnmpi.data.sources.arrow_reader import Reader
from nnmpi.data.sources.arrow_table import Table, decoded, in_float64, is_empty, is_number, is_text, texts_of, to_numpy
from nnmpi.data.sources.source import FLOAT64, LARGE, Columns, Request, Source
from nnmpi.data.weights import checked_weights
from nnmpi.errors import InputError
from nnmpi.text import listed

TARGETS = ("target", "y", "label", "class")  # names of the target column if --target is not given
INDEX = ("", "Unnamed: 0")  # names of row-number columns that pandas and R write
INDEX_LEVEL = "__index_level_"  # begins the names of row-number columns that pandas writes to Parquet files
SMALL = (pa.bool_(), pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.float16(), pa.float32())  # exact in float32


def table_source(table: Table, request: Request, has_target: bool = True) -> Source:
    """Return the source of a table: each row is a sample. Without `has_target` no column is taken as the target.

    Raises
    ------
    InputError
        If a column that a flag names, or that the model needs, is missing or has a type that cannot be used.
    """
    if not table.size:
        raise InputError(f"--data {table.name}: has column names, but no rows")
    types = table.types
    chosen = _named_as_in(types, request.columns)
    request = replace(request, columns=chosen)
    weight = (chosen.weight,) if chosen.weight and (chosen.needs_weight or chosen.weight in types) else ()
    flags = ("--target", "--drop", "--categories", "--sample-weight")
    for flag, names in zip(flags, (chosen.target, chosen.drop, chosen.categories, weight), strict=True):
        for name in names:
            if name not in types:
                problem = f"{flag} {name}: no such column"
                if flag == "--target" and request.known is not None:
                    problem = f"column {name}, the target of the training, is missing"
                raise InputError(f"--data {table.name}: {problem}; {_columns_text(types)}")
    target = _target(table, request) if has_target else ()
    if twice := [name for name in target if name in chosen.drop]:
        raise InputError(f"--data {table.name}: --target and --drop both name {twice[0]}: remove it from one of them")
    if twice := [name for name in weight if name in target]:
        raise InputError(
            f"--data {table.name}: --target and --sample-weight both name {twice[0]}: remove it from one of them"
        )
    if request.known is None:
        columns = _columns(table, (*target, *weight, *chosen.drop), chosen.categories)
    else:
        columns = request.known
        _check_known(table, columns)
    read_y = partial(_read_y, table, target) if target and request.targets else None
    y = None
    in_parts = bool(table.bounds) and table.size * len(columns) >= LARGE
    if read_y and not in_parts:
        y, read_y = read_y(0, table.size), None
    reader = Reader(table, columns)
    small = all(types[column.name] in SMALL and column.kind == "number" for column in columns)
    dtype: np.dtype[Any] = np.dtype(np.float32) if small else FLOAT64
    return Source(
        table.name,
        reader.read,
        table.size,
        len(columns),
        y,
        None,
        dtype,
        files=table.files,
        note=table.note,
        columns=columns,
        texts=reader.texts,
        target=target,
        has_categories=len(target) == 1 and pa.types.is_dictionary(types[target[0]]),
        weights=_read_weights(table, weight[0]) if weight else None,
        read_y=read_y,
        bounds=table.bounds if in_parts else (),
        blocks=reader.blocks,
    )


def _named_as_in(types: dict[str, Any], columns: Columns) -> Columns:
    """Return `columns` with the names as in the table: there they may have spaces around them, which flags drop."""
    exact = {name.strip(): name for name in types} | {name: name for name in types}
    target, drop, categories = (
        tuple(exact.get(name, name) for name in names) for names in (columns.target, columns.drop, columns.categories)
    )
    weight = exact.get(columns.weight, columns.weight) if columns.weight else None
    return replace(columns, target=target, drop=drop, categories=categories, weight=weight)


def _columns_text(types: dict[str, pa.DataType]) -> str:
    return f"its columns are {listed(list(types), 20)}"


def _columns(table: Table, excluded: tuple[str, ...], categories: tuple[str, ...]) -> tuple[Column, ...]:
    """Return all columns except `excluded` as features: numbers, categories, and parts of dates."""
    columns: list[Column] = []
    for name, dtype in table.types.items():
        if name in excluded or name in INDEX or name.startswith(INDEX_LEVEL) or is_empty(dtype):
            continue
        if is_text(dtype):
            columns.append(Column(name, "text"))
        elif is_number(dtype):
            is_category = name in categories or pa.types.is_dictionary(dtype)
            columns.append(Column(name, "code" if is_category else "number"))
        elif pa.types.is_date(dtype) or pa.types.is_timestamp(dtype):
            parts = DATE_PARTS[:4] if pa.types.is_date(dtype) else DATE_PARTS
            columns += [Column(name, "number", part) for part in parts]
        else:
            raise InputError(
                f"--data {table.name}: column {name} holds {dtype}, which is neither a number nor a text nor a date: "
                f"leave it out with --drop {name}"
            )
    if not columns:
        raise InputError(f"--data {table.name}: no column is left for the features; {_columns_text(table.types)}")
    labels = Counter(column.label for column in columns)
    if twice := [column for column in columns if column.part and labels[column.label] > 1]:
        raise InputError(
            f"--data {table.name}: column {twice[0].label} has the name of the {twice[0].part} of the dates in column "
            f"{twice[0].name}: rename one, or leave it out with --drop {twice[0].label}"
        )
    return tuple(columns)


def _check_known(table: Table, columns: tuple[Column, ...]) -> None:
    """Refuse a table in which a column that the model was trained on is missing or has another kind."""
    for column in columns:
        dtype = table.types.get(column.name)
        if dtype is None:
            raise InputError(
                f"--data {table.name}: column {column.name}, which the model was trained on, is missing; "
                f"{_columns_text(table.types)}"
            )
        dates = pa.types.is_date(dtype) or pa.types.is_timestamp(dtype)
        fits = is_text(dtype) if column.kind == "text" else dates if column.part else is_number(dtype)
        if not fits and not is_empty(dtype):
            expected = {"text": "text", "code": "numbers"}.get(column.kind, "dates" if column.part else "numbers")
            kind = "text" if is_text(dtype) else "dates" if dates else "numbers" if is_number(dtype) else str(dtype)
            raise InputError(
                f"--data {table.name}: column {column.name} holds {kind}, but the model was trained on {expected}"
            )


def _target(table: Table, request: Request) -> tuple[str, ...]:
    """Return the names of the target columns."""
    target = request.columns.target or tuple(name for name in TARGETS if name in table.types)[:1]
    if not target and request.targets:
        names = f"{', '.join(TARGETS[:-1])} or {TARGETS[-1]}"
        remedy = f"Call it {names}" if request.features else f"Name it with --target of train, or call it {names}"
        raise InputError(f"--data {table.name}: which column is the target? {remedy}; {_columns_text(table.types)}")
    return target if request.targets or all(name in table.types for name in target) else ()


def _read_y(table: Table, target: tuple[str, ...], start: int, stop: int) -> Array:
    """Return the targets of some rows: shape (rows,), or (rows, columns) if there are several columns of numbers."""
    ys: list[list[Array]] = [[] for _ in target]
    for first, batch in table.batches(list(target), start, stop):
        skipped = max(0, start - first)
        first, batch = first + skipped, batch.slice(skipped, max(0, stop - first - skipped))
        for name, values, y in zip(target, map(decoded, batch.columns), ys, strict=True):
            if values.null_count or (pa.types.is_floating(values.type) and pc.any(pc.is_nan(values)).as_py()):
                row = first + pc.index(pc.is_null(values, nan_is_null=True), True).as_py()
                raise InputError(
                    f"--data {table.name}: the target {name} is missing in row {row} (from 0): remove such rows"
                )
            y.append(_as_labels(table, name, values))
    arrays = [np.concatenate(y) for y in ys]
    if len(arrays) > 1:
        for name, array in zip(target, arrays, strict=True):
            if array.dtype.kind == "U":
                raise InputError(f"--data {table.name}: --target {name}: several targets must all be numbers")
        are_labels = all(y.dtype.kind == "b" for y in arrays)
        return np.column_stack([y if are_labels else y.astype(np.float64) for y in arrays])
    return checked_y(table.name, arrays[0], stop - start, target[0])


def _read_weights(table: Table, name: str) -> Floats:
    """Return the weights of all rows."""
    if not is_number(table.types[name]):
        raise InputError(
            f"--data {table.name}: --sample-weight {name} holds {table.types[name]}: weights must be numbers"
        )
    batches = [decoded(batch.column(0)) for _, batch in table.batches([name], 0, table.size)]
    weights = np.concatenate([to_numpy(in_float64(values), np.nan) for values in batches])
    return checked_weights(table.name, weights, table.size, name)


def _as_labels(table: Table, name: str, values: pa.Array) -> Array:
    if is_text(values.type):
        return np.array(texts_of(values, f"--data {table.name}: --target {name}"), np.str_)
    if not is_number(values.type) or pa.types.is_time(values.type) or pa.types.is_duration(values.type):
        raise InputError(f"--data {table.name}: --target {name} holds {values.type}: it must hold classes or numbers")
    if pa.types.is_decimal(values.type):
        values = in_float64(values)
    if pa.types.is_boolean(values.type):
        return to_numpy(values.cast(pa.uint8())).astype(np.bool_)
    return to_numpy(values)
