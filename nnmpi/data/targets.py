"""How ``y`` becomes what a network is trained on: class codes and one-hot columns, labels of 0 and 1, or numbers."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.data.labels import ROWS_PER_CLASS, as_labels, check_storable, codes_of, is_whole, shown
from nnmpi.data.multilabel import as_booleans, why_labels
from nnmpi.data.sources import Source
from nnmpi.errors import InputError
from nnmpi.nn.network import decide, decide_labels

Indices = npt.NDArray[np.intp]
Array = npt.NDArray[np.floating]

# what is learned from targets of each kind
TASKS = {"one-hot": "classification", "binary": "classification", "labels": "multilabel", "numbers": "regression"}


@dataclass(frozen=True)
class Targets:
    """How ``y`` becomes what a network is trained on.

    Attributes
    ----------
    kind : {"one-hot", "binary", "labels", "numbers"}
    classes : array or None
        The class labels in ascending order; position = class code.
    outputs : int
        The number of outputs of the network.
    labels : tuple of str
        What the columns of 0 and 1 are called, of which a sample may have several that are 1.
    """

    kind: str
    classes: npt.NDArray[Any] | None
    outputs: int
    labels: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """What is learned: ``classification``, ``multilabel`` or ``regression``, as in ``--task``."""
        return TASKS[self.kind]

    def codes(self, y: npt.NDArray[Any], where: str = "the data", rows: Indices | None = None) -> npt.NDArray[Any]:
        """Class codes, shape (n,), booleans, shape (n, outputs), or numbers in float64, shape (n, outputs).

        Messages say `where` `y` comes from, and from which of its `rows`.

        Raises
        ------
        InputError
            If `y` holds a class that is not among `classes`, other values than 0 and 1 where labels are wanted, or
            classes where numbers are wanted.
        """
        if self.task == "multilabel":
            return as_booleans(y, self.labels, where, rows)
        if self.task == "regression":
            if y.dtype.kind not in "fiub" or y.size != len(y) * self.outputs:
                count = f"{self.outputs} number{'s' * (self.outputs > 1)} a sample"
                what = "strings" if y.dtype.kind == "U" else f"{y.dtype} of shape {y.shape}"
                raise InputError(f"the model predicts {count}, y of {where} holds {what}")
            return y.reshape(len(y), self.outputs).astype(np.float64)
        assert self.classes is not None
        if y.ndim > 1 and y.shape[1:] != (1,):
            raise InputError(f"the model predicts classes, y of {where} holds {y.dtype} of shape {y.shape}")
        return codes_of(y.reshape(-1), self.classes, where, rows)

    def room_for_codes(self, n: int) -> npt.NDArray[Any]:
        """An array for the `codes` of `n` samples."""
        if self.task == "classification":
            return np.zeros(n, np.intp)
        return np.zeros((n, self.outputs), np.bool_ if self.task == "multilabel" else np.float64)

    def decided(self, z: Array) -> npt.NDArray[Any]:
        """The predicted `codes`, from the logits `z`, shape (outputs, b); of numbers, zeros of shape (b,)."""
        if self.task == "regression":
            return np.zeros(z.shape[1], np.intp)
        return decide(z) if self.task == "classification" else decide_labels(z)


class Plan(NamedTuple):
    """Where the 1 of each sample is: of sample i of a block from a to b at outputs · a + code · (b - a) + (i - a)."""

    blocks: list[tuple[int, int]]
    factor: Indices  # b - a
    start: Indices  # the rest


class Encoder:
    """Memory for the targets of up to `capacity` samples, block by block.

    The array of a block is contiguous, which halves the time of what the loss does with a few samples.
    """

    def __init__(self, targets: Targets, capacity: int, dtype: npt.DTypeLike) -> None:
        self._kind, self._outputs = targets.kind, targets.outputs
        self._memory: Array = np.zeros(targets.outputs * capacity, dtype)
        self._places = np.zeros(capacity, np.intp)

    def view(self, a: int, b: int) -> Array:
        """The targets of the block of the samples ``[a, b)``, shape (outputs, b - a)."""
        return self._memory[self._outputs * a : self._outputs * b].reshape(self._outputs, b - a)

    def plan(self, blocks: list[tuple[int, int]]) -> Plan:
        """How to encode samples that come in these blocks, in order."""
        sizes = [b - a for a, b in blocks]
        starts = [np.arange(self._outputs * a, self._outputs * a + b - a) for a, b in blocks]
        return Plan(blocks, np.repeat(sizes, sizes), np.concatenate(starts))

    def encode(self, codes: npt.NDArray[Any], plan: Plan) -> None:
        """Write the targets of `codes`, the samples of all blocks of the plan."""
        if self._kind != "one-hot":
            for a, b in plan.blocks:
                self.view(a, b)[:] = codes[a:b].T
            return
        n = len(codes)
        places = self._places[:n]
        np.multiply(codes, plan.factor, out=places)
        np.add(places, plan.start, out=places)
        self._memory[: self._outputs * n].fill(0)
        self._memory[places] = 1


def targets_of(source: Source, loss: str, task: str = "auto") -> tuple[Targets, str, str]:
    """The targets that a source, ``--loss`` and ``--task`` make together.

    Returns
    -------
    targets : Targets
    loss : str
        What ``auto`` stands for.
    reason : str
        Which targets they are and why, in a line.

    Raises
    ------
    InputError
        If they do not fit, or there is only one class.
    """
    assert source.y is not None
    y = source.y.reshape(-1) if source.y.shape[1:] == (1,) else source.y
    _check_finite(y, source.name)
    if why := why_labels(y, source.name, loss, task):
        outputs = y.shape[1]
        names = source.target if len(source.target) == outputs else tuple(map(str, range(outputs)))
        return Targets("labels", None, outputs, names), "binary-cross-entropy", f"target y: {outputs} labels ({why})"
    classes, reason = _classes(y, source.name, loss, task)
    if classes is None:
        outputs = 1 if y.ndim == 1 else y.shape[1]
        return Targets("numbers", None, outputs), "mse", f"target y: {reason}"
    if len(classes) < 2:
        raise InputError(
            f"--data {source.name}: all samples are of one class, {shown(classes[0])}; at least 2 are needed"
        )
    check_storable(classes, f"--data {source.name}")
    reason = f"target y: {len(classes)} classes ({reason})"
    if loss == "binary-cross-entropy":
        if len(classes) != 2:
            raise InputError(
                f"--loss binary-cross-entropy is for 2 classes, --data {source.name} has {len(classes)}: "
                "use --loss cross-entropy"
            )
        return Targets("binary", classes, 1), loss, reason
    return Targets("one-hot", classes, len(classes)), "cross-entropy" if loss == "auto" else loss, reason


def _classes(y: npt.NDArray[Any], name: str, loss: str, task: str) -> tuple[npt.NDArray[Any] | None, str]:
    """The class labels in `y`, or None where it holds numbers to predict, and why."""
    wanted = f"--loss {loss}" if loss.endswith("cross-entropy") else ""
    wanted = f"--task {task}" if task != "auto" else wanted
    text = y.dtype.kind == "U"
    if task == "regression":
        if text:
            raise InputError(f"--task regression needs numbers, but y of --data {name} holds strings")
        return None, f"numbers ({wanted})"
    countable = y.ndim == 1 and (y.dtype.kind in "bU" or is_whole(y))
    if not countable:
        if wanted:
            what = "fractions" if y.ndim == 1 else f"{y.shape[1]} numbers a row"
            several = "" if y.ndim == 1 else ", --task multilabel for columns of 0 and 1"
            raise InputError(
                f"{wanted} needs classes, but y of --data {name} holds {what}: use --task regression with --loss "
                f"mse{several}, or store classes as whole numbers or strings"
            )
        return None, "numbers" if y.ndim == 1 else f"{y.shape[1]} numbers a row"
    labels = np.unique(as_labels(y))
    rows = len(y) / len(labels)
    what = "strings" if text else "booleans" if y.dtype.kind == "b" else "whole numbers"
    counts = f"{what}, {rows:.3g} row{'s' * (rows != 1)} a class"
    if wanted or what != "whole numbers" or name.startswith("random:"):  # whose name says how many classes it has
        return labels, counts + (f", {wanted}" if wanted else "")
    if rows >= ROWS_PER_CLASS:
        return labels, f"{counts}; --task regression takes them as numbers"
    return None, (
        f"numbers ({len(labels)} different whole numbers in {len(y)} rows; --task classification takes them as classes)"
    )


def _check_finite(y: npt.NDArray[Any], name: str) -> None:
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row, *_ = np.argwhere(~np.isfinite(y))[0]
        raise InputError(f"--data {name}: y of row {row} (from 0) is {y[row]}; remove such rows, or fill them in")
