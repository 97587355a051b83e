"""Labels of which a sample may have several: columns of 0 and 1."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.labels import ROWS_PER_CLASS, shown
from nnmpi.errors import InputError


def why_labels(y: npt.NDArray[Any], name: str, loss: str, task: str) -> str:
    """Why `y` holds labels; "" if it does not, or is to be taken as something else.

    Raises
    ------
    InputError
        If ``--task multilabel``, or a loss of labels, asks for them and `y` holds something else.
    """
    if task not in ("auto", "multilabel") or loss not in ("auto", "binary-cross-entropy"):
        return ""
    wanted = f"--loss {loss}" if loss != "auto" else ""
    wanted = f"--task {task}" if task != "auto" else wanted
    if y.ndim == 1:
        if task == "multilabel":
            raise InputError(
                f"--task multilabel needs two columns or more of 0 and 1, but y of --data {name} has one: use --task "
                "classification, or name several columns with --target a,b"
            )
        return ""
    other = _first_other(y)
    if other:
        if not wanted:
            return ""
        row, column = other
        raise InputError(
            f"{wanted} needs columns of 0 and 1, but y of --data {name} holds {y[row, column]} in row {row}, column "
            f"{column} (from 0): use --task regression" + (f" without --loss {loss}" if loss != "auto" else "")
        )
    what = "booleans" if y.dtype.kind == "b" else "columns of 0 and 1"
    if wanted:
        return f"{what}, {wanted}"
    if y.dtype.kind != "b" and len(y) < 2 * ROWS_PER_CLASS:
        return ""
    if (y.sum(axis=1) == 1).all():
        what += ", exactly one 1 a row: classes are better given as one column"
    return f"{what}; --task regression takes them as numbers"


def as_booleans(
    y: npt.NDArray[Any], labels: tuple[str, ...], where: str, rows: npt.NDArray[np.intp] | None
) -> npt.NDArray[np.bool_]:
    """`y`, shape (n, labels), as booleans.

    Raises
    ------
    InputError
        If `y` holds something else than a 0 or 1 for each of the `labels`. It says `where` `y` comes from, and from
        which of its `rows`.
    """
    if y.dtype.kind not in "fiub" or y.shape[1:] != (len(labels),):
        what = "strings" if y.dtype.kind == "U" else f"{y.dtype} of shape {y.shape}"
        raise InputError(f"the model predicts {len(labels)} labels a sample, 0 or 1, y of {where} holds {what}")
    other = _first_other(y)
    if other:
        row, column = other
        raise InputError(
            f"the model predicts labels, 0 or 1, y of {where} holds {y[row, column]} for the label "
            f"{shown(labels[column])} in row {row if rows is None else rows[row]} (from 0)"
        )
    return y.astype(np.bool_)


def _first_other(y: npt.NDArray[Any]) -> tuple[int, int] | None:
    """The row and the column of the first value in `y`, shape (n, outputs), that is neither 0 nor 1; None without."""
    if y.dtype.kind == "b":
        return None
    others = (y != 0) & (y != 1)
    first = int(others.argmax()) if others.size else 0
    row, column = divmod(first, y.shape[1])
    return (row, column) if others.size and others[row, column] else None
