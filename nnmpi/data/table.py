"""Tables: columns of numbers, categories and dates, and the features made from them.

A source returns the columns of a table as float64 numbers: NaN for a missing value, and `number_of` it for a text. An
`Encoding` turns them into features, in the order of scikit-learn's ``ColumnTransformer`` with a pipeline
``SimpleImputer(add_indicator=True), StandardScaler()`` for numbers and ``OneHotEncoder(handle_unknown="ignore")`` for
categories: numbers, indicators of missing numbers, then one feature for each category.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.data.columns import DATE_PARTS, KINDS, Column, check_categories, number_of
from nnmpi.data.scaler import Scaler, blocks, fit_scaler


@dataclass(frozen=True)
class Encoding:
    """How the columns of a table become features.

    Attributes
    ----------
    columns : tuple of Column
    categories : dict
        For each category column, by position: its texts or numbers, ascending.
    indicators : tuple of int
        Positions of the number columns with missing values in training. Each gets a feature that marks these values.
    fill : array, shape (columns,)
        The mean of each number column, which replaces a missing value.
    scaler : Scaler
        For all features. It leaves those of categories unchanged, at 0 or 1.
    """

    columns: tuple[Column, ...]
    categories: dict[int, tuple[Any, ...]]
    indicators: tuple[int, ...]
    fill: Floats
    scaler: Scaler

    @property
    def mean(self) -> Floats:
        """The value that is subtracted from each feature."""
        return self.scaler.mean

    @property
    def scale(self) -> Floats:
        """The value that each feature is divided by."""
        return self.scaler.scale

    @property
    def numbers(self) -> list[int]:
        """The positions of the number columns, which become the first features."""
        return _numbers(self.columns)

    @property
    def feature_names(self) -> list[str]:
        """The name of each feature, as scikit-learn names it."""
        names = [self.columns[i].label for i in _numbers(self.columns)]
        names += [f"missingindicator_{self.columns[i].label}" for i in self.indicators]
        return names + [f"{self.columns[i].label}_{c}" for i, values in self.categories.items() for c in values]

    @cached_property
    def _category_keys(self) -> list[tuple[int, Floats, Indices]]:
        """For each category column: its position, the number that stands for each category, and their order."""
        keys = {
            i: np.array([number_of(v) if self.columns[i].kind == "text" else v for v in values], np.float64)
            for i, values in self.categories.items()
        }
        return [(i, of_column, np.argsort(of_column)) for i, of_column in keys.items()]

    def transform(self, x: Array, out: Array) -> None:
        """Write the features of the rows `x`, shape (n, columns), to `out`, shape (n, features).

        The computation is in float64 and rounds once, at the end. A category that is missing, or that did not occur in
        training, is zero in all its features.
        """
        count = len(_numbers(self.columns)) + len(self.indicators)
        numeric = Scaler(self.scaler.mean[:count], self.scaler.scale[:count])
        for start, raw in blocks(x):
            rows = out[start : start + len(raw)]
            if count:
                numbers = _numeric(raw, self.columns, self.indicators, self.fill)
                numeric.standardize(numbers)
                with np.errstate(over="ignore"):  # numbers that do not fit the type of `out` become infinite
                    rows[:, :count] = numbers
            rows[:, count:] = 0
            first = count
            for i, keys, order in self._category_keys:
                if len(keys):
                    positions = np.minimum(np.searchsorted(keys, raw[:, i], sorter=order), len(keys) - 1)
                    known = np.flatnonzero(keys[order[positions]] == raw[:, i])
                    rows[known, first + order[positions[known]]] = 1
                first += len(keys)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the scaler and the fill values as plain data."""
        return {
            "columns": [list(column) for column in self.columns],
            "categories": [list(values) for values in self.categories.values()],
            "indicators": list(self.indicators),
        }

    @staticmethod
    def from_json(description: dict[str, Any], fill: Floats, scaler: Scaler) -> "Encoding":
        """Return the encoding from the result of `to_json`.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the description is invalid.
        """
        columns = tuple(Column(*column) for column in description["columns"])
        strings = all(isinstance(text, str) for column in columns for text in column)
        if not columns or not strings or any(c.kind not in KINDS or c.part not in ("", *DATE_PARTS) for c in columns):
            raise ValueError("invalid columns")
        if len({column.label for column in columns}) < len(columns):
            raise ValueError("two columns with the same name")
        positions = [i for i, column in enumerate(columns) if column.kind != "number"]
        categories = dict(zip(positions, (tuple(values) for values in description["categories"]), strict=True))
        for i, values in categories.items():
            types = (str,) if columns[i].kind == "text" else (int, float)
            if not all(type(value) in types for value in values) or list(values) != sorted(set(values)):
                raise ValueError(f"invalid categories of {columns[i].label}")
        indicators, numbers = tuple(description["indicators"]), set(_numbers(columns))
        if not all(type(i) is int and i in numbers for i in indicators) or len(set(indicators)) < len(indicators):
            raise ValueError(f"invalid indicators {indicators}")
        encoding = Encoding(columns, categories, indicators, fill, scaler)
        if len(fill) != len(columns) or len(encoding.feature_names) != len(scaler.mean):
            raise ValueError(f"{len(scaler.mean)} features do not fit {len(columns)} columns")
        return encoding


Preparation = Scaler | Encoding  # turns the rows of arrays, or of a table, into features


def fit_encoding(
    name: str,
    columns: tuple[Column, ...],
    texts: dict[float, str],
    shards: Callable[[], Iterable[Array]],
    gather_rows: Callable[[Floats], Floats],
    gather_bytes: Callable[[bytes], list[bytes]],
) -> Encoding:
    """Fit the encoding of a table to its training part. All ranks take part. It is the same on any number of ranks.

    Parameters
    ----------
    name : str
        The name of the source, for error messages.
    texts : dict
        The texts that this rank has read, by the number that stands for each.
    shards : function
        Yields the rows of each shard that this rank holds, shape (n, columns), in float64.
    gather_rows, gather_bytes : functions
        Return the rows, or the bytes, of all ranks in the order of their shards.

    Raises
    ------
    InputError
        On all ranks, if a column cannot be used as categories.
    """
    numbers = _numbers(columns)
    missing, fill = _means(shards, gather_rows, len(columns))
    indicators = tuple(i for i in numbers if missing[i] and columns[i].part in ("", DATE_PARTS[0]))
    rows = int(np.add.reduce(gather_rows(np.array([[float(len(x))] for x in shards()])))[0])
    categories = _categories(name, columns, texts, shards, gather_bytes, rows - missing)
    if len(numbers) == len(columns) and not missing.any():
        scaler = fit_scaler(shards, gather_rows)
    elif numbers:
        scaler = fit_scaler(lambda: (_numeric(x, columns, indicators, fill) for x in shards()), gather_rows)
    else:
        scaler = Scaler(np.empty(0), np.empty(0))
    if not missing.any():  # a value that is missing only later gets the mean, too
        fill[numbers] = scaler.mean[: len(numbers)]
    one_hot = sum(map(len, categories.values()))
    scaler = Scaler(np.append(scaler.mean, np.zeros(one_hot)), np.append(scaler.scale, np.ones(one_hot)))
    return Encoding(columns, categories, indicators, fill, scaler)


def _numbers(columns: tuple[Column, ...]) -> list[int]:
    return [i for i, column in enumerate(columns) if column.kind == "number"]


def _numeric(x: Array, columns: tuple[Column, ...], indicators: tuple[int, ...], fill: Floats) -> Floats:
    """Return the number columns of some rows, with missing values filled in, then the indicators."""
    numbers = _numbers(columns)
    filled = x[:, numbers].astype(np.float64, copy=False)
    absent = np.isnan(filled)
    np.copyto(filled, fill[numbers], where=absent)
    return np.concatenate([filled, np.isnan(x[:, list(indicators)])], axis=1)


def _means(
    shards: Callable[[], Iterable[Array]], gather: Callable[[Floats], Floats], columns: int
) -> tuple[Indices, Floats]:
    """Return the number of missing values of each column, and the mean of the others; 0 if nothing is missing."""

    def counts(x: Array) -> Floats:
        absent, low = np.zeros(columns), np.full(columns, np.inf)
        for _, block in blocks(x):
            absent += np.isnan(block).sum(axis=0)
            low = np.fmin(low, np.fmin.reduce(block, axis=0))
        return np.concatenate([[len(x)], absent, low])

    counted, absent, low = np.split(gather(np.array([counts(x) for x in shards()])), [1, 1 + columns], axis=1)
    missing, smallest = absent.sum(axis=0).astype(np.intp), low.min(axis=0)
    smallest[~np.isfinite(smallest)] = 0.0
    if not missing.any():
        return missing, np.zeros(columns)
    sums = [  # of the differences to the smallest value, as in `moments`
        np.sum([np.nansum(b - smallest, axis=0) for _, b in blocks(x)] or [np.zeros(columns)], axis=0) for x in shards()
    ]
    present = counted.sum() - missing
    return missing, smallest + np.add.reduce(gather(np.array(sums)), axis=0) / np.maximum(present, 1)


def _categories(
    name: str,
    columns: tuple[Column, ...],
    texts: dict[float, str],
    shards: Callable[[], Iterable[Array]],
    gather: Callable[[bytes], list[bytes]],
    present: Indices,
) -> dict[int, tuple[Any, ...]]:
    positions = [i for i, column in enumerate(columns) if column.kind != "number"]
    own: list[list[Any]] = []
    for i in positions:
        values = np.unique(np.concatenate([np.unique(x[:, i]) for x in shards()]))
        values = values[~np.isnan(values)]
        own.append([texts[v] if columns[i].kind == "text" else v for v in values.tolist()])
    if not positions:
        return {}
    of_ranks = [json.loads(data) for data in gather(json.dumps(own).encode())]
    categories: dict[int, tuple[Any, ...]] = {
        i: tuple(sorted(set().union(*lists))) for i, lists in zip(positions, zip(*of_ranks, strict=True), strict=True)
    }
    for i, distinct in categories.items():
        check_categories(name, columns[i], distinct, int(present[i]))
    return categories
