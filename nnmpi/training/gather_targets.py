"""The targets of a large table: each rank reads the targets of some rows, then all ranks share them."""

import dataclasses
import json

import numpy as np

from nnmpi.arrays import Array
from nnmpi.data.sources import Source
from nnmpi.mpi.world import World


def gather_targets(source: Source, world: World) -> Source:
    """Return `source` with the targets of all its rows in ``y``. All ranks take part.

    A source that has its targets already, or has none to read, is returned as it is.

    Raises
    ------
    InputError
        On all ranks, if the targets cannot be read.
    """
    if source.read_y is None or source.y is not None:
        return source
    with world.together():
        first, stop = (source.size * rank // world.size for rank in (world.rank, world.rank + 1))
        own_y = source.read_y(first, stop)
    labels = None
    if own_y.dtype.kind == "U":
        own_labels, codes = np.unique(own_y, return_inverse=True)
        gathered = [json.loads(text) for text in world.gather_bytes(json.dumps(own_labels.tolist()).encode())]
        labels = np.array(sorted(set().union(*gathered)))
        own_y = np.searchsorted(labels, own_labels)[codes.reshape(-1)]
    rows = world.gather_rows(_compact(own_y.reshape(len(own_y), -1), world))
    y: Array = rows if rows.shape[1] > 1 else rows[:, 0]
    return dataclasses.replace(source, y=y if labels is None else labels[y])


def _compact(y: Array, world: World) -> Array:
    """Return whole numbers in the smallest type that holds the numbers of all ranks, other numbers as they are."""
    if y.dtype.kind not in "iu":
        return y
    bounds = np.array([[y.min(), y.max()]]) if len(y) else np.zeros((1, 2), y.dtype)
    bounds = world.gather_rows(bounds)
    low, high = bounds.min(), bounds.max()
    # the negative number that needs as many bits as `high`: no type holds both int8 and uint64 exactly
    return y.astype(np.min_scalar_type(high if low >= 0 else min(low, ~high)))
