"""The kinds of columns in CSV files, and the parsers of their texts."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

# missing in columns of numbers and dates, besides Arrow's
MISSING = ("", "?", "-", ".", "None", "none", "Null", "na", "NaT")


def parsers_of_kinds() -> dict[str, Callable[[Any], Any]]:
    """Return a parser of texts for each kind of column, narrowest first. It raises ArrowInvalid for other texts."""

    def nothing(strings: Any) -> Any:
        if strings.null_count < len(strings):
            raise pa.ArrowInvalid("holds a value")
        return pa.nulls(len(strings))

    def number(strings: Any) -> Any:
        return strings.cast(pa.float64())

    def whole(strings: Any, dtype: Any) -> Any:
        number(strings)  # refuses 0x10
        return strings.cast(dtype)

    return {
        "nothing": nothing,
        "whole number": lambda strings: whole(strings, pa.int64()),
        "large whole number": lambda strings: whole(strings, pa.uint64()),
        "number": number,
        "truth": lambda strings: strings.cast(pa.bool_()),
        "date": lambda strings: strings.cast(pa.date32()),
        "time": lambda strings: strings.cast(pa.timestamp("us")),
        "zoned time": lambda strings: strings.cast(pa.timestamp("us", "UTC")),
        "fine time": lambda strings: strings.cast(pa.timestamp("ns")),
        "fine zoned time": lambda strings: strings.cast(pa.timestamp("ns", "UTC")),
        "decimal comma": lambda strings: number(pc.replace_substring(strings, ",", ".")),
        "text": lambda strings: strings,
    }


def parse(strings: Any, parser: Callable[[Any], Any]) -> Any:
    """Parse texts; if they cannot be parsed, without the spaces around them, and with those in `MISSING` as missing."""
    try:
        return parser(strings)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(strings)
        missing = pc.is_in(trimmed, value_set=pa.array([*null_values(), *MISSING]))
        trimmed = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
        if trimmed.equals(strings):
            raise
        return parser(trimmed)


@cache
def null_values() -> list[str]:
    """Return the texts that are missing values in all columns."""
    return [*csv.ConvertOptions().null_values, "<NA>"]


def kinds_of(strings: Any, kinds: list[str], parsers: dict[str, Callable[[Any], Any]]) -> list[str]:
    """Return those of `kinds` that fit all texts."""

    def parsed(kind: str) -> Any:
        try:
            return parse(strings, parsers[kind])
        except pa.ArrowInvalid:
            return None

    numbers = parsed("number") if "number" in kinds else None
    if numbers is not None and numbers.null_count < len(numbers):  # dates need not be tried, which takes long
        kinds = [kind for kind in kinds if not kind.endswith(("date", "time"))]
    return [kind for kind in kinds if parsed(kind) is not None]
