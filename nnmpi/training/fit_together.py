"""Preparation of a fit on all ranks: common checks, samples and random numbers."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from nnmpi.arrays import Array
from nnmpi.data.shards import default_shards, held_shards
from nnmpi.mpi.checks import differing_ranks
from nnmpi.mpi.world import World
from nnmpi.training.fit_state import Samples


@contextmanager
def on_all_ranks(world: World) -> Iterator[None]:
    """Turn an error on some ranks into an error on all ranks. The body must not contain a collective."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    problems = world.gather_bytes((str(error) or type(error).__name__).encode() if error else b"")
    if error:
        raise error
    for rank, text in enumerate(problems):
        if text:
            raise ValueError(f"{text.decode()} (on rank {rank} of {world.size})")


def check_same(name: str, arrays: list[Array | None], world: World) -> None:
    """Refuse arrays, called `name` in the message, that differ between ranks. All ranks take part.

    Raises
    ------
    ValueError
        On all ranks, with the ranks whose arrays differ from those of rank 0.
    """
    if world.size == 1:
        return
    sums = [0 if array is None else zlib.crc32(np.ascontiguousarray(array).data) for array in arrays]
    others = differing_ranks(world, repr(sums).encode())
    if others:
        raise ValueError(
            f"rank{'s' * (len(others) > 1)} {', '.join(map(str, others))} and rank 0 have different {name}: give all "
            "ranks the same"
            + (", or call fit with shard=True if each rank brings its own rows" if name == "samples" else "")
        )


def to_holders(rows: Array, world: World) -> Array:
    """Send each row to the rank that holds its shard; return the rows of this rank's shards. All ranks take part.

    Each rank may bring any number of rows. The rows of all ranks, in rank order, are cut into shards whose sizes differ
    by one row at most.
    """
    if world.size == 1:
        return rows
    counts = world.gather_rows(np.array([[len(rows)]])).ravel()
    shards = default_shards(world.size)
    size, more = divmod(int(counts.sum()), shards)
    holders = [held_shards(shards, world.size, rank) for rank in range(world.size)]
    ends = np.array([held.stop * size + min(held.stop, more) for held in holders])
    before, after = np.concatenate([[0], np.cumsum(counts)]), np.concatenate([[0], ends])  # bounds of each rank's rows
    # number of rows that each rank (first axis) sends to each rank (second axis)
    table = np.minimum.outer(before[1:], after[1:]) - np.maximum.outer(before[:-1], after[:-1])
    table = np.maximum(table, 0)
    send_counts, receive_counts = table[world.rank].tolist(), table[:, world.rank].tolist()
    out = np.empty((sum(receive_counts), *rows.shape[1:]), rows.dtype)
    row_type = world.mpi.BYTE.Create_contiguous(int(np.prod(rows.shape[1:])) * rows.itemsize).Commit()
    try:
        world.comm.Alltoallv([np.ascontiguousarray(rows), send_counts, row_type], [out, receive_counts, row_type])
    finally:
        row_type.Free()
    return out


def sharded(samples: Samples, world: World) -> Samples:
    """Return the training rows of this rank's shards, followed by its own validation rows. All ranks take part."""
    shape = samples.x.shape[1], samples.x.itemsize, samples.y[:1].size, samples.weights is None
    check_same("features, outputs, types or weights", [np.array(shape)], world)
    arrays, validation = (samples.x, samples.y, samples.weights), samples.validation
    x, y, weights = (None if array is None else to_holders(array[samples.training], world) for array in arrays)
    assert x is not None
    assert y is not None
    count = len(x)
    if validation is not None:
        x = np.concatenate([x, samples.x[validation]])
        y = np.concatenate([y, samples.y[validation]])
        if weights is not None and samples.weights is not None:
            weights = np.concatenate([weights, samples.weights[validation]])
        validation = np.arange(count, len(x))
    return Samples(x, y, weights, np.arange(count), validation, shared=False)


def split_rows(
    count: int, validation_fraction: float | None, stratify: Array | None, random: np.random.RandomState
) -> tuple[Array, Array | None]:
    """Return the rows to train on and the rows to validate on, if any, drawn as in scikit-learn."""
    rows = np.arange(count)
    if validation_fraction is None:
        return rows, None
    training, validation = rows, rows[:0]
    if validation_fraction > 0:
        training, validation = train_test_split(
            rows, random_state=random, test_size=validation_fraction, stratify=stratify
        )
    if len(validation) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return training, validation


def same_random_state(random_state: Any, world: World) -> np.random.RandomState:
    """Return a generator that has the state of rank 0 on all ranks. All ranks take part."""
    random: np.random.RandomState = check_random_state(random_state)
    if world.size == 1:
        return random
    if random_state is None:
        random = np.random.RandomState()  # instead of NumPy's global one, whose state must not change
    state: Any = random.get_state()
    keys = np.append(state[1], np.uint32(state[2]))
    world.broadcast(keys)
    random.set_state((state[0], keys[:-1], int(keys[-1]), 0, 0.0))
    return random
