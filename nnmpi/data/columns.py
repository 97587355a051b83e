"""The columns of a table, and the numbers that stand for texts."""

import hashlib
from typing import NamedTuple

DATE_PARTS = ("year", "month", "day", "weekday", "hour", "minute", "second")
KINDS = ("number", "text", "code")  # of columns: numbers, categories that are texts, categories that are numbers


class Column(NamedTuple):
    """A column of a table, or a part of one that holds dates."""

    name: str
    kind: str
    part: str = ""

    @property
    def label(self) -> str:
        """``month``, or ``departure.month`` of a date."""
        return f"{self.name}.{self.part}" if self.part else self.name


def number_of(text: str) -> float:
    """A number that stands for `text`, the same everywhere: the first 53 bits of its hash."""
    return float(int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 11)
