"""Training targets made from ``y``: class codes and one-hot columns, labels of 0 and 1, or numbers."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.arrays import Array, Indices
from nnmpi.data.labels import ROWS_PER_CLASS, as_labels, check_exact, check_storable, codes_of, is_whole, label_text
from nnmpi.data.multilabel import as_booleans, reason_for_labels
from nnmpi.data.sources import Source
from nnmpi.errors import InputError
from nnmpi.nn.network import decide, decide_labels

# kind of targets → task
TASKS = {"one-hot": "classification", "binary": "classification", "labels": "multilabel", "numbers": "regression"}


@dataclass(frozen=True)
class Targets:
    """How ``y`` becomes training targets.

    Attributes
    ----------
    kind : {"one-hot", "binary", "labels", "numbers"}
    classes : array or None
        The class labels in ascending order; the class code is the position.
    outputs : int
        The number of outputs of the network.
    labels : tuple of str
        The names of the columns of 0 and 1, if the kind is "labels".
    """

    kind: str
    classes: Array | None
    outputs: int
    labels: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The task, as in ``--task``: ``classification``, ``multilabel`` or ``regression``."""
        return TASKS[self.kind]

    def codes(self, y: Array, where: str = "the data", rows: Indices | None = None) -> Array:
        """Return class codes, shape (n,), booleans, shape (n, outputs), or float64 numbers, shape (n, outputs).

        Error messages name the origin of `y`, `where`, and the row number, from `rows`.

        Raises
        ------
        InputError
            If `y` holds a class that is not in `classes`, a value other than 0 and 1 where labels are needed, or
            strings, or another number of columns, where numbers are needed.
        """
        if self.task == "multilabel":
            return as_booleans(y, self.labels, where, rows)
        if self.task == "regression":
            if y.dtype.kind not in "fiub" or y.size != len(y) * self.outputs:
                count = f"{self.outputs} number{'s' * (self.outputs > 1)} per sample"
                contents = "strings" if y.dtype.kind == "U" else f"{y.dtype} of shape {y.shape}"
                raise InputError(f"the model predicts {count}, but y of {where} holds {contents}")
            return y.reshape(len(y), self.outputs).astype(np.float64)
        assert self.classes is not None
        if y.ndim > 1 and y.shape[1:] != (1,):
            raise InputError(f"the model predicts classes, but y of {where} holds {y.dtype} of shape {y.shape}")
        return codes_of(y.reshape(-1), self.classes, where, rows)

    def room_for_codes(self, n: int) -> Array:
        """Return an array for the `codes` of `n` samples."""
        if self.task == "classification":
            return np.zeros(n, np.intp)
        return np.zeros((n, self.outputs), np.bool_ if self.task == "multilabel" else np.float64)

    def decided(self, z: Array) -> Array:
        """Return the predicted `codes` for the logits `z`, shape (outputs, b); for regression zeros, shape (b,)."""
        if self.task == "regression":
            return np.zeros(z.shape[1], np.intp)
        return decide(z) if self.task == "classification" else decide_labels(z)


class Plan(NamedTuple):
    """Where the 1 of each sample is: for sample i of the block [a, b) at outputs · a + code · (b - a) + (i - a)."""

    blocks: list[tuple[int, int]]
    factor: Indices  # b - a
    start: Indices  # outputs · a + (i - a)


class Encoder:
    """Memory for the targets of up to `capacity` samples, block by block.

    The array of a block is contiguous. This halves the time of the loss on small batches.
    """

    def __init__(self, targets: Targets, capacity: int, dtype: npt.DTypeLike) -> None:
        self._kind, self._outputs = targets.kind, targets.outputs
        self._memory: Array = np.zeros(targets.outputs * capacity, dtype)
        self._positions = np.zeros(capacity, np.intp)

    def view(self, a: int, b: int) -> Array:
        """Return the targets of the block of samples ``[a, b)``, shape (outputs, b - a)."""
        return self._memory[self._outputs * a : self._outputs * b].reshape(self._outputs, b - a)

    def plan(self, blocks: list[tuple[int, int]]) -> Plan:
        """Return how to encode samples that come in these blocks, in order."""
        sizes = [b - a for a, b in blocks]
        starts = [np.arange(self._outputs * a, self._outputs * a + b - a) for a, b in blocks]
        return Plan(blocks, np.repeat(sizes, sizes), np.concatenate(starts))

    def encode(self, codes: Array, plan: Plan) -> None:
        """Write the targets of `codes`, which belong to the samples of all blocks of the plan."""
        if self._kind != "one-hot":
            for a, b in plan.blocks:
                self.view(a, b)[:] = codes[a:b].T
            return
        n = len(codes)
        positions = self._positions[:n]
        np.multiply(codes, plan.factor, out=positions)
        np.add(positions, plan.start, out=positions)
        self._memory[: self._outputs * n].fill(0)
        self._memory[positions] = 1


def targets_of(source: Source, loss: str, task: str = "auto") -> tuple[Targets, str, str]:
    """Choose the targets for a source, ``--loss`` and ``--task``.

    Returns
    -------
    targets : Targets
    loss : str
        The loss; ``auto`` is replaced.
    reason : str
        One line that names the targets and why they were chosen.

    Raises
    ------
    InputError
        If source, loss and task do not fit together, or there is only one class.
    """
    assert source.y is not None
    y = source.y.reshape(-1) if source.y.shape[1:] == (1,) else source.y
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row, *_ = np.argwhere(~np.isfinite(y))[0]
        raise InputError(
            f"--data {source.name}: y of row {row} (from 0) is {y[row]}; remove such rows, or fill them in"
        )
    if why := reason_for_labels(y, source.name, loss, task):
        outputs = y.shape[1]
        names = source.target if len(source.target) == outputs else tuple(map(str, range(outputs)))
        return Targets("labels", None, outputs, names), "binary-cross-entropy", f"target y: {outputs} labels ({why})"
    classes, reason = _classes(y, source, loss, task)
    if classes is None:
        outputs = 1 if y.ndim == 1 else y.shape[1]
        reason += "; all are equal" if (y == y[0]).all() else ""
        return Targets("numbers", None, outputs), "mse", f"target y: {reason}"
    if len(classes) < 2:
        raise InputError(
            f"--data {source.name}: all samples are of one class, {label_text(classes[0])}; at least 2 are needed"
        )
    check_storable(classes, f"--data {source.name}")
    reason = f"target y: {len(classes)} classes ({reason})"
    if loss == "binary-cross-entropy":
        if len(classes) != 2:
            raise InputError(
                f"--loss binary-cross-entropy is for 2 classes, but --data {source.name} has {len(classes)}: "
                "use --loss cross-entropy"
            )
        return Targets("binary", classes, 1), loss, reason
    return Targets("one-hot", classes, len(classes)), "cross-entropy" if loss == "auto" else loss, reason


def _classes(y: Array, source: Source, loss: str, task: str) -> tuple[Array | None, str]:
    """Return the class labels in `y`, or None if it holds numbers to predict, and the reason."""
    name = source.name
    flag = f"--loss {loss}" if loss.endswith("cross-entropy") else ""
    flag = f"--task {task}" if task != "auto" else flag or ("a column of categories" if source.has_categories else "")
    text = y.dtype.kind == "U"
    if task == "regression":
        if text:
            raise InputError(f"--task regression needs numbers, but y of --data {name} holds strings")
        return None, f"numbers ({flag})"
    if y.ndim == 1:
        remedy = "Store labels as text or as int64 or uint64, or use --task regression"
        check_exact(y, f"--data {name}", remedy, 0 if flag else ROWS_PER_CLASS)
    can_be_classes = y.ndim == 1 and (y.dtype.kind in "bU" or is_whole(y))
    if not can_be_classes:
        if flag:
            contents = "fractions" if y.ndim == 1 else f"{y.shape[1]} numbers a row"
            or_multilabel = "" if y.ndim == 1 else ", --task multilabel for columns of 0 and 1"
            raise InputError(
                f"{flag} needs classes, but y of --data {name} holds {contents}: use --task regression with --loss "
                f"mse{or_multilabel}, or store classes as whole numbers or strings"
            )
        return None, "numbers" if y.ndim == 1 else f"{y.shape[1]} numbers a row"
    labels = np.unique(as_labels(y))
    rows = len(y) / len(labels)
    contents = "strings" if text else "booleans" if y.dtype.kind == "b" else "whole numbers"
    counts = f"{contents}, {rows:.3g} row{'s' * (rows != 1)} a class"
    if flag or contents != "whole numbers" or name.startswith("random:"):  # its name gives its number of classes
        return labels, counts + (f", {flag}" if flag else "")
    if rows >= ROWS_PER_CLASS:
        return labels, f"{counts}; --task regression takes them as numbers"
    return None, (
        f"numbers ({len(labels)} different whole numbers in {len(y)} rows; --task classification takes them as classes)"
    )
