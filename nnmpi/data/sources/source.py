"""What every source gives: all its targets, and the features of any of its rows on demand."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.columns import Column

Indices = npt.NDArray[np.intp]
LARGE = 1 << 25  # numbers of features from which on no rank should need rows from everywhere
FLOAT64: np.dtype[Any] = np.dtype(np.float64)


@dataclass(frozen=True)
class Columns:
    """What columns of a table, or arrays of a file, are for: the settings of these names."""

    target: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    weight: str | None = None  # --sample-weight
    needs_weight: bool = True  # whether data without it are refused


NO_COLUMNS = Columns()


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
    columns : Columns
        What columns of a table are for.
    known : tuple of Column or None
        The columns that a model was trained on, which are wanted then and no others.
    """

    name: str
    targets: bool = True
    trusted: bool = True
    columns: Columns = NO_COLUMNS
    known: tuple[Column, ...] | None = None

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
        Class labels (whole numbers, booleans or strings) or numbers to predict; several a sample are numbers, or
        labels of 0 and 1.
    image : (height, width) or None
        Set where the features are the pixels of an image, row by row.
    dtype : numpy.dtype
        The stored number type of the features, in native byte order.
    files : tuple of str
        What it is read from.
    note : str
        What a user should know of how it is read, or nothing.
    columns : tuple of Column or None
        Of a table, whose ``features`` are columns until an `nnmpi.data.table.Encoding` makes features of them.
    texts : dict
        Of a table: the texts that were read, by the number that stands for each.
    target : tuple of str
        Of a table: the columns that ``y`` has come from.
    weights : array, shape (size,), or None
        The weight of each sample; None is 1.
    read_y : function or None
        Of a large table of which each rank reads a part only, where ``y`` is None: the targets of some rows, from the
        first to the one behind the last; see `nnmpi.training.gather_targets`.
    bounds, blocks : tuple of int, function
        Of a large source that can only be read in pieces: where they begin and the last one ends, and what gives the
        rows from one bound to another block by block, each with the number of its first row; see
        `nnmpi.training.read_together`.
    """

    name: str
    read: Callable[[Indices, npt.NDArray[Any]], None]
    size: int
    features: int
    y: npt.NDArray[Any] | None
    image: tuple[int, int] | None = None
    dtype: np.dtype[Any] = FLOAT64
    files: tuple[str, ...] = ()
    note: str = ""
    columns: tuple[Column, ...] | None = None
    texts: dict[float, str] = field(default_factory=dict)
    target: tuple[str, ...] = ()
    weights: npt.NDArray[np.float64] | None = None
    read_y: Callable[[int, int], npt.NDArray[Any]] | None = None
    bounds: tuple[int, ...] = ()
    blocks: Callable[[int, int], Iterator[tuple[int, npt.NDArray[Any]]]] | None = None

    @property
    def is_large(self) -> bool:
        """Whether each rank should read rows that lie together. It depends on the numbers alone, not on the format."""
        return self.size * self.features >= LARGE


def in_pieces(indices: Indices, size: int, at_once: int) -> Iterator[tuple[int, int, Indices]]:
    """Each piece of `size` rows, `at_once` at a time: its start, its stop, and where in `indices` its rows stand."""
    ascending = np.argsort(indices, kind="stable")
    starts = np.arange(0, size, at_once)
    ends = np.searchsorted(indices, [*starts[1:], size], sorter=ascending)
    for start, places in zip(starts.tolist(), np.split(ascending, ends[:-1]), strict=True):
        yield start, min(start + at_once, size), places
