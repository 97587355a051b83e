"""A setting of a run: its flag, its allowed values, and the functions that parse, convert and show it."""

import contextlib
import csv
import math
import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import field
from typing import Any, Literal, get_args, get_origin

import numpy as np

from nnmpi.errors import CommandError

Check = Callable[[Any], bool]


def flag_of(name: str) -> str:
    """``batch_size`` → ``--batch-size``."""
    return "--" + name.replace("_", "-")


@contextlib.contextmanager
def naming_keywords(settings: Collection[str] = ()) -> Iterator[None]:
    """Let errors name data without ``--data``, and keywords of Python in place of the flags of these `settings`."""

    def keyword(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return name if name in settings else flag[0]

    try:
        yield
    except CommandError as error:
        error.args = (re.sub(r"(?<![\w-])--([a-z0-9-]+)", keyword, str(error).replace("--data ", "")),)
        raise


def parse_sizes(text: str) -> tuple[int, ...]:
    """``128,64`` → ``(128, 64)``; ``none`` or nothing → ``()``."""
    return () if text.strip() in ("", "none") else tuple(int(part) for part in text.split(","))


def parse_batch_size(text: str) -> int | Literal["full"]:
    """``32`` → 32; ``full`` stays."""
    return "full" if text == "full" else int(text)


def parse_names(text: str) -> tuple[str, ...]:
    """``shift,noise`` → ``("shift", "noise")``; ``none`` → ``()``."""
    return () if text.strip() in ("", "none") else tuple(part.strip() for part in text.split(","))


def parse_columns(text: str) -> tuple[str, ...]:
    """``origin,dest`` → ``("origin", "dest")``; a name with a comma is quoted as in a CSV file; ``none`` → ``()``."""
    if text.strip() in ("", "none"):
        return ()
    try:
        return tuple(name.strip() for name in next(csv.reader([text], strict=True)))
    except csv.Error:
        raise ValueError(text) from None


def parse_interval(text: str) -> tuple[int, str]:
    """``500steps`` → ``(500, "steps")``; also epochs and minutes; ``never`` → ``(0, "never")``."""
    match = re.fullmatch(r"([1-9]\d{0,8})\s*(step|epoch|minute)s?", text)
    if match:
        return int(match[1]), match[2] + "s"
    if text == "never":
        return 0, text
    raise ValueError(text)


def is_interval(text: str) -> bool:
    """Return whether `parse_interval` can read `text`."""
    try:
        return bool(parse_interval(text))
    except ValueError:
        return False


def is_compression(text: str) -> bool:
    """Return whether `text` names a compression of gradients; see `nnmpi.reduction.compress`."""
    return re.fullmatch(r"none|fp16|bf16|powersgd:[1-9]\d{0,3}", text) is not None


COLUMN_NAMES = "names of columns, each at most once, separated by commas"


def are_different(names: tuple[str, ...]) -> bool:
    """Return whether no two `names` are equal."""
    return len(set(names)) == len(names)


def converted(value: Any, type_: Any, parse: Callable[[str], Any] | None = None) -> Any:
    """Return a value from Python as the annotated type of its setting.

    Text is parsed as on the command line. NumPy's numbers become Python's, whole numbers floats where these are
    expected, paths texts, and a list or a single item a tuple.

    Raises
    ------
    ValueError
        If the value is of another type.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and parse:
        return parse(value)
    if get_origin(type_) is tuple:
        items = value if isinstance(value, tuple | list) else [value]
        return tuple(converted(item, get_args(type_)[0]) for item in items)
    types = get_args(type_) or (type_,)
    if float in types and type(value) is int:
        return float(value)
    if not any(isinstance(t, type) and isinstance(value, t) for t in types) or (
        isinstance(value, bool) and bool not in types  # to Python it is a whole number, too
    ):
        raise ValueError(value)
    return value


def setting(
    default: Any,
    help: str,
    allowed: str = "",
    check: Check | None = None,
    *,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], Any] | None = None,
    free: bool = False,
) -> Any:
    """Return a field of `Config`: the help of its flag, its allowed values in words and as a check, and its parser.

    A `free` setting may change when a run is resumed.
    """
    if isinstance(default, bool):
        allowed = "True, False"
    metadata = {"help": help, "allowed": allowed, "check": check, "choices": choices, "parse": parse, "free": free}
    return field(default=default, metadata=metadata)


def whole(low: int) -> tuple[str, Check]:
    """Return the allowed whole numbers, in words and as a check."""
    return f"whole numbers from {low}", lambda v: bool(v >= low)


def number(low: float, high: float = math.inf, *, open_low: bool = False) -> tuple[str, Check]:
    """Return the allowed numbers, in words and as a check."""
    text = f"numbers {'above' if open_low else 'from'} {low:g}"
    text += f" up to, not including, {high:g}" if high < math.inf else ""
    return text, lambda v: (low < v if open_low else low <= v) and v < high


def flag_value(value: Any) -> str:
    """Return a setting as written on the command line."""
    if isinstance(value, tuple | list):
        return ",".join(map(_item, value)) or "none"
    if value is None:
        return "the default"
    return str(value)


def _item(value: Any) -> str:
    """Return an item of a list as written on the command line; `parse_columns` reads the quotes."""
    text = str(value)
    needs_quotes = text in ("", "none") or any(character in text for character in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if needs_quotes else text
