"""Reading a large source in whole pieces: one rank reads a piece and broadcasts it to others that need its rows."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from nnmpi.arrays import Array, Indices
from nnmpi.data.sources.source import Source
from nnmpi.errors import InputError
from nnmpi.mpi.world import World


def read_together(source: Source, indices: Indices, out: Array, world: World) -> None:
    """Write the rows `indices` of `source` to `out`, as ``source.read`` does. All ranks take part.

    A piece that only one rank needs is read by that rank. Neighbouring ranks may need rows of the same piece: then the
    rank that needs most of them reads it and broadcasts it, block by block.

    Raises
    ------
    InputError
        On all ranks, if a piece cannot be read. Any other error is a `RunError` on all ranks.
    """
    starts = [0, *(np.flatnonzero(np.diff(indices) < 0) + 1).tolist(), len(indices)]
    runs = [(a, indices[a:b]) for a, b in pairwise(starts)]  # ascending rows; one run for each part of the source
    bounds = np.array(source.bounds)
    needed = np.add.reduce([np.diff(np.searchsorted(run, bounds)) for _, run in runs])  # rows of each piece
    counts = world.gather_rows(needed[None])

    def keep(start: int, block: Array) -> None:
        for first, run in runs:
            a, b = np.searchsorted(run, [start, start + len(block)])
            out[first + a : first + b] = block[run[a:b] - start]

    shared = np.count_nonzero(counts, axis=0) > 1
    with world.together():
        for piece in np.flatnonzero((needed > 0) & ~shared):
            for start, block in _blocks(source, int(bounds[piece]), int(bounds[piece + 1])):
                keep(start, block)
    for piece in np.flatnonzero(shared):
        _broadcast(source, int(bounds[piece]), int(bounds[piece + 1]), int(counts[:, piece].argmax()), keep, world)
    for texts in world.gather_bytes(json.dumps(list(source.texts.items())).encode()):
        source.texts.update((number, text) for number, text in json.loads(texts))


def _broadcast(
    source: Source, first: int, stop: int, owner: int, keep: Callable[[int, Array], None], world: World
) -> None:
    """Read the rows from `first` to `stop` on rank `owner`, and `keep` the needed ones on each. All ranks take part."""
    blocks = _blocks(source, first, stop)
    while first < stop:
        block = np.empty((0, source.features), source.dtype)
        with world.together():
            if world.rank == owner:
                block = np.ascontiguousarray(next(blocks)[1], source.dtype)
        rows = world.sum_exactly(len(block))
        if world.rank != owner:
            block = np.empty((rows, source.features), source.dtype)
        world.broadcast(block, owner)
        keep(first, block)
        first += rows


def _blocks(source: Source, first: int, stop: int) -> Iterator[tuple[int, Array]]:
    """Yield all rows from `first` to `stop`, as ``source.blocks`` does; refuse a source that has fewer."""
    assert source.blocks
    for start, block in source.blocks(first, stop):
        yield start, block
        first = start + len(block)
    if first < stop:
        raise InputError(f"--data {source.name}: has changed: it has fewer rows than before")
