"""The columns of a table, and the numbers that stand for its texts."""

import hashlib
from typing import NamedTuple

DATE_PARTS = ("year", "month", "day", "weekday", "hour", "minute", "second")
KINDS = ("number", "text", "code")  # of columns: numbers, categories stored as text, categories stored as numbers


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
