"""What every source gives: all its targets, and the features of any of its rows on demand."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]
FLOAT64: np.dtype[Any] = np.dtype(np.float64)


@dataclass(frozen=True)
class Request:
    """What is asked of a source.

    Attributes
    ----------
    name : str
        As given by ``--data``.
    targets : bool
        Whether it must have them.
    trusted : bool
        Whether a user gave the name.
    """

    name: str
    targets: bool = True
    trusted: bool = True

    @property
    def path(self) -> str:
        """The file's: the name up to ``::``, behind which HDF5 files have the names of datasets."""
        return self.name if os.path.exists(self.name) else self.name.partition("::")[0]


@dataclass(frozen=True)
class Source:
    """Samples from one place. A rank asks for the rows of its own shards only, so that none holds the whole.

    Attributes
    ----------
    name : str
        As given by ``--data``.
    read : function
        From row numbers, shape (n,), and an array, shape (n, features): writes the features of those rows to it.
    size, features : int
    y : array, shape (size,) or (size, outputs), or None
        Class labels (whole numbers, booleans or strings) or, if floating, numbers to predict.
    image : (height, width) or None
        Set where the features are the pixels of an image, row by row.
    dtype : numpy.dtype
        The stored number type of the features, in native byte order.
    """

    name: str
    read: Callable[[Indices, npt.NDArray[Any]], None]
    size: int
    features: int
    y: npt.NDArray[Any] | None
    image: tuple[int, int] | None = None
    dtype: np.dtype[Any] = FLOAT64


def in_pieces(indices: Indices, size: int, at_once: int) -> Iterator[tuple[int, int, Indices]]:
    """Each piece of `size` rows, `at_once` at a time: its start, its stop, and where in `indices` its rows stand."""
    ascending = np.argsort(indices, kind="stable")
    starts = np.arange(0, size, at_once)
    ends = np.searchsorted(indices, [*starts[1:], size], sorter=ascending)
    for start, places in zip(starts.tolist(), np.split(ascending, ends[:-1]), strict=True):
        yield start, min(start + at_once, size), places
