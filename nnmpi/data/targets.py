"""How ``y`` becomes what a network is trained on: class codes and one-hot columns, or numbers."""

from dataclasses import dataclass
from typing import Any

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

    def encode(self, codes: npt.NDArray[Any], out: Array, scratch: Indices) -> None:
        """Write the targets of `codes` to the first columns of `out`, shape (outputs, capacity).

        `scratch` has the shape (2, capacity), and 0, 1, … in its first row.
        """
        n = len(codes)
        if self.kind == "one-hot":
            places = scratch[1, :n]
            np.multiply(codes, out.shape[1], out=places)
            np.add(places, scratch[0, :n], out=places)
            out.fill(0)
            np.put(out, places, 1)
        else:
            out[:, :n] = codes.T


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
