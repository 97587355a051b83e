"""Class labels, kept exactly as booleans, 64-bit integers or strings, and their codes."""

import json
from typing import Any

import numpy as np

from nnmpi.arrays import Array, Booleans, Indices
from nnmpi.errors import InputError
from nnmpi.text import listed

ROWS_PER_CLASS = 5  # whole numbers are classes from this average on, and numbers to predict below it
LARGEST_ARRAY = 1 << 26  # bytes of the array of all class labels; each label takes the space of the longest
LARGEST_TEXT = 1 << 25  # bytes of the labels as JSON in a model file; safetensors reads headers of up to 100 MB
LONGEST_SHOWN = 60  # characters of a label in a message


def is_whole(y: Array) -> bool:
    """Whether all values of `y` are whole numbers that fit 64 bits, also if they are stored as floats."""
    if y.dtype.kind in "iu":
        return True
    if y.dtype.kind != "f":
        return False
    numbers = y.astype(np.float64)
    return bool((numbers == np.floor(numbers)).all() and (numbers >= -(2.0**63)).all() and (numbers < 2.0**63).all())


def check_exact(y: Array, where: str, remedy: str, rows_per_class: int = 0) -> None:
    """Refuse whole numbers in floating point that are so large that different labels may have become equal.

    Raises
    ------
    InputError
        If there are any, and on average at least `rows_per_class` rows of each. The message names the origin of `y`,
        `where`, and ends in a `remedy`.
    """
    if y.dtype.kind != "f" or not (y == np.floor(y)).all():
        return
    bits = np.finfo(y.dtype).nmant + 1
    large = y[np.abs(y) >= 2.0**bits]
    if large.size and len(y) >= rows_per_class * len(np.unique(y)):
        raise InputError(
            f"y of {where} holds whole numbers such as {large[0]:.0f} in {y.dtype}, which rounds whole numbers beyond "
            f"2^{bits}: different labels may have become equal. {remedy}"
        )


def as_labels(y: Array) -> Array:
    """Return `y` as labels: booleans and strings unchanged, whole numbers as int64, or uint64 if they need it."""
    if y.dtype.kind == "u" and y.dtype.itemsize == 8 and y.size and y.max() > np.iinfo(np.int64).max:
        return y.astype(np.uint64)
    if y.dtype.kind in "iuf":
        return y.astype(np.int64)
    return y.astype(y.dtype.newbyteorder("="), copy=False)


def codes_of(y: Array, classes: Array, where: str, rows: Indices | None = None) -> Indices:
    """Return the class code of each label in `y`: its position in the sorted `classes`.

    Raises
    ------
    InputError
        If a label is not one of the classes, or may have been rounded. The message names the origin of `y`, `where`,
        and the row number, from `rows`.
    """
    texts = y.dtype.kind == "U", classes.dtype.kind == "U"
    if texts[0] != texts[1] or not (is_whole(y) or y.dtype.kind in "bU"):
        contents = {"U": "strings", "b": "booleans", "f": "numbers"}.get(y.dtype.kind, "whole numbers")
        raise InputError(
            f"the model knows classes such as {label_text(classes[0])}, but y of {where} holds {contents}: "
            "store the labels in y as they were in training"
        )
    check_exact(y, where, "Store the labels as they were in training")
    labels = as_labels(y)
    same_type, exact = _converted(labels, classes.dtype)
    codes = np.minimum(np.searchsorted(classes, same_type), len(classes) - 1)
    unknown = np.flatnonzero((classes[codes] != same_type) | ~exact)
    if len(unknown):
        i = unknown[0]
        known = listed([label_text(label) for label in classes], 10)
        raise InputError(
            f"y of {where} holds the class {label_text(labels[i])} in row {i if rows is None else rows[i]} (from 0), "
            f"but the model knows {known}: remove such rows, or train a model on data with that class"
        )
    return codes.astype(np.intp, copy=False)


def check_storable(classes: Array, where: str) -> None:
    """Refuse class labels that are too long for a model file.

    Raises
    ------
    InputError
        If all labels together are too much text.
    """
    if classes.dtype.kind != "U":
        return
    longest = classes.dtype.itemsize // 4
    if classes.nbytes > LARGEST_ARRAY or len(json.dumps(json.dumps(classes.tolist()))) > LARGEST_TEXT:
        raise InputError(
            f"{where}: y holds {len(classes)} classes with labels of up to {longest} characters, too much text for a "
            "model file: use shorter labels, or numbers"
        )


def label_text(label: Any) -> str:
    """Return a label for a message: shortened if it is long, quoted if it is empty or has spaces at an end."""
    text = str(label)
    if len(text) > LONGEST_SHOWN:
        return f"{text[:LONGEST_SHOWN]}… ({len(text)} characters)"
    return text if text and text == text.strip() else repr(text)


def _converted(labels: Array, dtype: np.dtype[Any]) -> tuple[Array, Booleans]:
    """Return `labels` in another type, and which of them this leaves unchanged.

    Comparing int64 and uint64 directly may go through float64, which is not exact.
    """
    if labels.dtype.kind == dtype.kind:
        return labels, np.ones(labels.shape, np.bool_)
    converted = labels.astype(dtype)
    return converted, (converted.astype(labels.dtype) == labels) & ((converted < 0) == (labels < 0))
