"""The interface of all sources: all targets at once, and the features of any rows on demand."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.data.columns import Column

LARGE = 1 << 25  # size · features from which on each rank should read neighbouring rows
FLOAT64: np.dtype[Any] = np.dtype(np.float64)


@dataclass(frozen=True)
class Columns:
    """The roles of columns of a table, or of arrays of a file, as in the settings of these names."""

    target: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    weight: str | None = None  # --sample-weight
    needs_weight: bool = True  # whether to refuse data without it
    target_is_text: bool = False  # where a CSV file does not tell, as with the labels 12 and 13 of 12, 13 and 12A


NO_COLUMNS = Columns()


@dataclass(frozen=True)
class Request:
    """The parameters of opening a source.

    Attributes
    ----------
    name : str
        The source, as in ``--data``.
    targets : bool
        Whether it must have targets.
    trusted : bool
        Whether a user gave the name.
    columns : Columns
        The roles of columns of a table.
    known : tuple of Column or None
        The columns that a model was trained on. If given, only these are read.
    features, first_index : int or None
        Those of the training data. Files that leave zeros out are read with them.
    """

    name: str
    targets: bool = True
    trusted: bool = True
    columns: Columns = NO_COLUMNS
    known: tuple[Column, ...] | None = None
    features: int | None = None
    first_index: int | None = None

    @property
    def path(self) -> str:
        """The path of the file: the name without ``::`` and the dataset names that follow it for HDF5 files."""
        return self.name if os.path.exists(self.name) else self.name.partition("::")[0]


@dataclass(frozen=True)
class Source:
    """Samples of a file, a directory, arrays or a generator. Each rank reads only the rows of its own shards.

    Attributes
    ----------
    name : str
        The source, as in ``--data``.
    read : function
        Takes row numbers, shape (n,), and an array, shape (n, features); writes the features of these rows to it.
    size, features : int
    y : array, shape (size,) or (size, outputs), or None
        Class labels (whole numbers, booleans or strings) or numbers to predict. Several values per sample are numbers,
        or labels of 0 and 1.
    image : (height, width) or None
        Set if the features are the pixels of an image, row by row.
    dtype : numpy.dtype
        The stored number type of the features, in native byte order.
    files : tuple of str
        The files that the source is read from.
    note : str
        What a user should know about how it is read; may be empty.
    columns : tuple of Column or None
        For a table. Its ``features`` are columns until an `nnmpi.data.table.Encoding` turns them into features.
    texts : dict
        For a table: the texts read so far, by the number that stands for each.
    target : tuple of str
        For a table: the columns that ``y`` comes from.
    has_categories : bool
        Whether the targets are stored as categories, as in tables and pandas columns: their numbers are classes.
    weights : array, shape (size,), or None
        The weight of each sample; None means 1.
    first_index : 0, 1 or None
        For a libsvm file. The index of the first feature.
    read_y : function or None
        For a large table. Each rank then reads only a part of the targets, and ``y`` is None. Takes a first row and a
        stop row, returns the targets of these rows; see `nnmpi.training.gather_targets`.
    bounds, blocks : tuple of int, function
        For a large source that can only be read in pieces. ``bounds``: where the pieces begin, and where the last one
        ends. ``blocks`` takes two bounds and yields the rows between them in blocks, each with the number of its first
        row; see `nnmpi.training.read_together`.
    """

    name: str
    read: Callable[[Indices, Array], None]
    size: int
    features: int
    y: Array | None
    image: tuple[int, int] | None = None
    dtype: np.dtype[Any] = FLOAT64
    files: tuple[str, ...] = ()
    note: str = ""
    columns: tuple[Column, ...] | None = None
    texts: dict[float, str] = field(default_factory=dict)
    target: tuple[str, ...] = ()
    has_categories: bool = False
    weights: Floats | None = None
    first_index: int | None = None
    read_y: Callable[[int, int], Array] | None = None
    bounds: tuple[int, ...] = ()
    blocks: Callable[[int, int], Iterator[tuple[int, Array]]] | None = None

    @property
    def is_large(self) -> bool:
        """Whether each rank should read neighbouring rows. It depends on size and features, not on the format."""
        return self.size * self.features >= LARGE


def in_pieces(indices: Indices, size: int, at_once: int) -> Iterator[tuple[int, int, Indices]]:
    """Split `size` rows into pieces of `at_once`; yield start, stop, and the positions in `indices` of its rows."""
    ascending = np.argsort(indices, kind="stable")
    starts = np.arange(0, size, at_once)
    ends = np.searchsorted(indices, [*starts[1:], size], sorter=ascending)
    for start, positions in zip(starts.tolist(), np.split(ascending, ends[:-1]), strict=True):
        yield start, min(start + at_once, size), positions
