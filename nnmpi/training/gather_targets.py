"""The targets of a large table, of which each rank reads a part."""

import dataclasses
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.sources import Source
from nnmpi.mpi.world import World


def gather_targets(source: Source, world: World) -> Source:
    """`source` with the targets of all its rows, if it gives them on demand. All ranks take part.

    Raises
    ------
    InputError
        On all ranks, if a part cannot be read.
    """
    if source.read_y is None or source.y is not None:
        return source
    with world.together():
        first, stop = (source.size * rank // world.size for rank in (world.rank, world.rank + 1))
        mine = source.read_y(first, stop)
    labels = None
    if mine.dtype.kind == "U":
        own, codes = np.unique(mine, return_inverse=True)
        everyones = [json.loads(text) for text in world.gather_bytes(json.dumps(own.tolist()).encode())]
        labels = np.array(sorted(set().union(*everyones)))
        mine = np.searchsorted(labels, own)[codes.reshape(-1)]
    rows = world.gather_rows(_compact(mine.reshape(len(mine), -1), world))
    y: npt.NDArray[Any] = rows if rows.shape[1] > 1 else rows[:, 0]
    return dataclasses.replace(source, y=y if labels is None else labels[y])


def _compact(y: npt.NDArray[Any], world: World) -> npt.NDArray[Any]:
    """Whole numbers in the smallest type that holds those of all ranks."""
    if y.dtype.kind not in "iu":
        return y
    bounds = np.array([[y.min(), y.max()]]) if len(y) else np.zeros((1, 2), y.dtype)
    bounds = world.gather_rows(bounds)
    return y.astype(np.result_type(np.min_scalar_type(bounds.min()), np.min_scalar_type(bounds.max())))
