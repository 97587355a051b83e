"""The columns of a table, and the numbers that stand for its texts."""

import hashlib
from typing import Any, NamedTuple

from nnmpi.errors import InputError

DATE_PARTS = ("year", "month", "day", "weekday", "hour", "minute", "second")
KINDS = ("number", "text", "code")  # of columns: numbers, categories stored as text, categories stored as numbers
FEWEST_IDENTIFIERS = 20  # with this many rows or more, and a different text in each, a column is an identifier


class Column(NamedTuple):
    """A column of a table, or one part of a column of dates."""

    name: str
    kind: str
    part: str = ""

    @property
    def label(self) -> str:
        """The name, followed by the part if there is one: ``departure.month``."""
        return f"{self.name}.{self.part}" if self.part else self.name


def number_of(text: str) -> float:
    """Return the number that stands for `text`, the same on every host: the first 53 bits of its hash."""
    return float(int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 11)


def check_categories(name: str, column: Column, categories: tuple[Any, ...], rows: int) -> None:
    """Check the `categories` of a column of the source `name` that has a value in so many `rows`.

    Raises
    ------
    InputError
        Meant for all ranks: if a text column looks like an identifier, or numbers are too large to tell them apart.
    """
    if column.kind == "text" and len(categories) == rows >= FEWEST_IDENTIFIERS:
        raise InputError(
            f"--data {name}: column {column.name} holds a different text in each row, such as {categories[0]!r}: "
            f"a network learns nothing from an identifier. Leave it out with --drop {column.name}; if these "
            "are numbers or dates, write them as in 1234.5 or 2024-12-31",
            shared=True,
        )
    if column.kind == "code" and (large := [c for c in categories if 2**53 <= abs(c) < float("inf")]):
        raise InputError(
            f"--data {name}: column {column.name} holds categories such as {large[0]:.0f}: numbers from 2^53 on are "
            "rounded, and two categories may become one. Store them as text",
            shared=True,
        )
