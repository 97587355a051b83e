"""Multilabel targets: columns of 0 and 1. A sample may have several labels."""

import numpy as np

from nnmpi.arrays import Array, Booleans, Indices
from nnmpi.data.labels import ROWS_PER_CLASS, label_text
from nnmpi.errors import InputError


def reason_for_labels(y: Array, name: str, loss: str, task: str) -> str:
    """Return why `y` is read as labels, or "" if it is not.

    Raises
    ------
    InputError
        If ``--task`` or ``--loss`` requires labels, but `y` does not hold labels.
    """
    if task not in ("auto", "multilabel") or loss not in ("auto", "binary-cross-entropy"):
        return ""
    flag = f"--loss {loss}" if loss != "auto" else ""
    flag = f"--task {task}" if task != "auto" else flag
    if y.ndim == 1:
        if task == "multilabel":
            raise InputError(
                f"--task multilabel needs two or more columns of 0 and 1, but y of --data {name} has one: use --task "
                "classification, or name several columns with --target a,b"
            )
        return ""
    invalid = _first_invalid(y)
    if invalid:
        if not flag:
            return ""
        row, column = invalid
        raise InputError(
            f"{flag} needs columns of 0 and 1, but y of --data {name} holds {y[row, column]} in row {row}, column "
            f"{column} (from 0): use --task regression" + (f" without --loss {loss}" if loss != "auto" else "")
        )
    contents = "booleans" if y.dtype.kind == "b" else "columns of 0 and 1"
    if flag:
        return f"{contents}, {flag}"
    if y.dtype.kind != "b" and len(y) < 2 * ROWS_PER_CLASS:
        return ""
    if (y.sum(axis=1) == 1).all():
        contents += ", exactly one 1 in each row: better store these classes in one column"
    return f"{contents}; --task regression takes them as numbers"


def as_booleans(y: Array, labels: tuple[str, ...], where: str, rows: Indices | None) -> Booleans:
    """Return `y`, shape (n, labels), as booleans.

    Raises
    ------
    InputError
        If `y` does not hold 0 or 1 for each of the `labels`. The message names the origin of `y`, `where`, and the row
        number, from `rows`.
    """
    if y.dtype.kind not in "fiub" or y.shape[1:] != (len(labels),):
        contents = "strings" if y.dtype.kind == "U" else f"{y.dtype} of shape {y.shape}"
        raise InputError(
            f"the model predicts {len(labels)} labels per sample, each 0 or 1, but y of {where} holds {contents}"
        )
    invalid = _first_invalid(y)
    if invalid:
        row, column = invalid
        raise InputError(
            f"the model predicts labels, each 0 or 1, but y of {where} holds {y[row, column]} for the label "
            f"{label_text(labels[column])} in row {row if rows is None else rows[row]} (from 0)"
        )
    return y.astype(np.bool_)


def _first_invalid(y: Array) -> tuple[int, int] | None:
    """Return row and column of the first value in `y`, shape (n, outputs), that is neither 0 nor 1, or None."""
    if y.dtype.kind == "b":
        return None
    are_invalid = (y != 0) & (y != 1)
    first = int(are_invalid.argmax()) if are_invalid.size else 0
    row, column = divmod(first, y.shape[1])
    return (row, column) if are_invalid.size and are_invalid[row, column] else None
