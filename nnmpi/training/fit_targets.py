"""Labels and weights of a fit: checked, and gathered from all ranks."""

import io
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target

from nnmpi.arrays import Array, Floats, Indices
from nnmpi.mpi.world import World


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


def weights_of_classes(class_weight: Any, labels: list[Any], codes: Indices, world: World | None) -> Floats:
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
