"""How ``y`` becomes what a network is trained on: class codes and one-hot columns, or numbers."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nnmpi.data.sources import Source
from nnmpi.errors import InputError

Indices = npt.NDArray[np.intp]
Array = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Targets:
    """How ``y`` becomes what a network is trained on.

    Attributes
    ----------
    kind : {"one-hot", "binary", "numbers"}
    classes : array or None
        The class labels in ascending order; position = class code.
    outputs : int
        The number of outputs of the network.
    """

    kind: str
    classes: npt.NDArray[Any] | None
    outputs: int

    def codes(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Class codes, shape (n,), or numbers, shape (n, outputs).

        Raises
        ------
        InputError
            If `y` holds a class that is not among `classes`, or classes where numbers are wanted.
        """
        if self.classes is None:
            if y.dtype.kind != "f" or y.size != len(y) * self.outputs:
                raise InputError(f"the model predicts {self.outputs} number(s), y holds {y.dtype} of shape {y.shape}")
            return y.reshape(len(y), self.outputs)
        if y.dtype.kind == "f" or (y.dtype.kind == "U") != (self.classes.dtype.kind == "U"):
            raise InputError(f"the model knows classes such as {self.classes[0]!r}, y holds {y.dtype}")
        codes = np.minimum(np.searchsorted(self.classes, y), len(self.classes) - 1)
        unknown = y[self.classes[codes] != y]
        if len(unknown):
            raise InputError(f"y holds the class {unknown[0]!r}, the model knows {_listed(self.classes)}")
        return codes.astype(np.intp, copy=False)


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


def _listed(classes: npt.NDArray[Any]) -> str:
    shown = ", ".join(str(c) for c in classes[:10])
    return shown + (f", … ({len(classes)} in all)" if len(classes) > 10 else "")


def targets_of(source: Source, loss: str) -> tuple[Targets, str]:
    """The targets that a source and ``--loss`` make together, and the loss that ``auto`` stands for.

    Raises
    ------
    InputError
        If they do not fit, or there is only one class.
    """
    y = source.y
    assert y is not None
    if y.dtype.kind == "f":
        if loss not in ("auto", "mse"):
            raise InputError(
                f"--loss {loss} needs classes, but y of --data {source.name} holds floating numbers: use --loss mse, "
                "or store classes as whole numbers or strings"
            )
        return Targets("numbers", None, 1 if y.ndim == 1 else y.shape[1]), "mse"
    classes = np.unique(y)
    if len(classes) < 2:
        raise InputError(f"--data {source.name}: all samples are of one class, {classes[0]}; at least 2 are needed")
    if loss == "binary-cross-entropy":
        if len(classes) != 2:
            raise InputError(
                f"--loss binary-cross-entropy is for 2 classes, --data {source.name} has {len(classes)}: "
                "use --loss cross-entropy"
            )
        return Targets("binary", classes, 1), loss
    return Targets("one-hot", classes, len(classes)), "cross-entropy" if loss == "auto" else loss
