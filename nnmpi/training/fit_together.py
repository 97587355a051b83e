"""Preparation of a fit on all ranks: common checks, labels, class weights, samples and random numbers."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import type_of_target

from nnmpi.data.shards import default_shards, held_shards
from nnmpi.mpi.world import World
from nnmpi.training.fit_state import Samples

Array = npt.NDArray[Any]


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
    everywhere = world.gather_rows(np.array([sums], np.uint32))
    others = np.flatnonzero((everywhere != everywhere[0]).any(axis=1)).tolist()
    if others:
        raise ValueError(
            f"rank{'s' * (len(others) > 1)} {', '.join(map(str, others))} and rank 0 have different {name}: give all "
            "ranks the same"
            + (", or call fit with shard=True if each rank brings its own rows" if name == "samples" else "")
        )


def all_labels(labels: Array, world: World) -> Array:
    """Return the labels that occur on any rank, in ascending order. All ranks take part."""
    own_labels = np.unique(labels)
    if own_labels.dtype == object:  # strings; the caller has checked that
        own_labels = own_labels.astype(str)
    buffer = io.BytesIO()
    np.save(buffer, own_labels, allow_pickle=False)
    everywhere = world.gather_bytes(buffer.getvalue())
    return np.unique(np.concatenate([np.load(io.BytesIO(data), allow_pickle=False) for data in everywhere]))


def check_known(labels: Array, classes: Array, all_of_them: bool) -> None:
    """Refuse labels that an earlier fit did not have; with `all_of_them` also the lack of a label that it had.

    Raises
    ------
    ValueError
        It lists the labels.
    """
    own, known = set(labels.tolist()), set(classes.tolist())  # arrays of int64 and uint64 are compared as float64
    if all_of_them and own != known:
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously got "
            f"{classes}, `y` has {labels}"
        )
    if not own <= known:
        raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has {labels}.")


def checked_labels(y: Any) -> Any:
    """Return the labels `y`, shape (n,), or columns of 0 and of one other number that stands for 1, one for each label.

    Raises
    ------
    ValueError
        If several columns hold something else.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        return column_or_1d(y, warn=True)
    if y.ndim == 2 and (type_of_target(y) != "multilabel-indicator" or len(np.unique(y[y.nonzero()])) > 1):
        raise ValueError(
            "y has several columns, which must hold 0 and 1, each column for one label that a sample may have; for "
            "one label per sample y must have the shape (n,)"
        )
    return y


def check_weights(weights: Any, training: Array, validation: Array | None, world: World | None) -> None:
    """Check that neither part has only weights of 0. With a `world` all ranks take part, each with its own rows.

    Raises
    ------
    ValueError
        If one has.
    """
    for name, rows in (("training", training), ("validation", validation)):
        if weights is not None and rows is not None:
            count = int(np.count_nonzero(weights[rows]))
            if not (world.sum_exactly(count) if world else count):
                raise ValueError(f"all weights of the {name} samples are 0: at least one must be larger")


def weights_of_classes(
    class_weight: Any, labels: list[Any], codes: npt.NDArray[np.intp], world: World | None
) -> npt.NDArray[np.float64]:
    """Return the weight of each class. With a `world` all ranks take part, each with its own `codes`.

    Raises
    ------
    ValueError
        If `class_weight` leaves out a class and has a label that is not one of the classes, or if a weight is not a
        finite number of at least 0.
    """
    if class_weight != "balanced":
        unknown = [label for label in class_weight if label not in labels]
        if unknown and any(label not in class_weight for label in labels):
            raise ValueError(f"class_weight has the labels {unknown}, the classes are {labels}")
        weights = np.array([float(class_weight.get(label, 1.0)) for label in labels])
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(f"class_weight must have finite numbers of at least 0, got {class_weight}")
        return weights
    counts = np.bincount(codes, minlength=len(labels))
    counts = world.gather_rows(counts[None]).sum(axis=0) if world else counts
    return np.asarray(counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)))


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
