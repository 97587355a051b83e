"""``.svm`` and ``.libsvm`` files: a label and index:value pairs a line, read by scikit-learn; rows are made dense."""

import numpy as np

from nnmpi.arrays import Array, Indices
from nnmpi.data.npy import DAMAGE, first_line
from nnmpi.data.sources.arrays import checked_y
from nnmpi.data.sources.source import Request, Source
from nnmpi.errors import InputError

NUMBERS_AT_ONCE = 1 << 21


def open_source(request: Request) -> Source:
    """Open the samples of the file. Each rank keeps a sparse copy of all of them."""
    name = request.name
    from sklearn.datasets import load_svmlight_file  # takes a second and 90 MB, only for such files

    try:
        x, y = load_svmlight_file(name, zero_based=True)
    except (*DAMAGE, TypeError, IndexError) as error:
        raise InputError(
            f"--data {name}: cannot be read ({first_line(error)}); each line must be: LABEL INDEX:VALUE INDEX:VALUE …"
        ) from None
    size = x.shape[0]
    if not size:
        raise InputError(f"--data {name}: holds no samples")
    first_index = _first_index(request, x.indices)
    features = request.features or x.shape[1] - first_index
    x = x[:, first_index:]
    x.resize((size, features))  # zeros are left out, also those of the last features

    def read(indices: Indices, out: Array) -> None:
        at_once = max(1, NUMBERS_AT_ONCE // features)
        for start in range(0, len(indices), at_once):
            x[indices[start : start + at_once]].toarray(out=out[start : start + at_once])

    targets = checked_y(name, np.asarray(y), size)
    return Source(name, read, size, features, targets, files=(name,), first_index=first_index)


def _first_index(request: Request, indices: Array) -> int:
    """Return the index of the first feature: 0 if a line has index 0, else 1, as in scikit-learn.

    Files leave zeros out, so a file without its first or last feature may count from 0 or from 1. Only training data
    may be such a file: all other data must count as they do, and have no more features.
    """
    start, features, expected = f"--data {request.name}: ", request.features, request.first_index
    if not len(indices):
        return 0
    first, last = min(int(indices.min()), 1), int(indices.max())
    if features is None:
        return first
    from_0, from_1 = "0:0 behind the label of the first line", f"{features}:0 at the end of the first line"
    if expected is None and first == 1 and last < features:
        raise InputError(
            f"{start}no line has index 0 or {features}, so its {features} features may count from 0 or from 1: write "
            f"{from_0} if they count from 0, {from_1} if from 1"
        )
    if first == 1 and expected == 0:
        raise InputError(
            f"{start}no line has index 0, so its features may count from 1, and those of the training data count from "
            f"0. Write {from_0}; if they count from 1, first lower all indices by 1"
        )
    if first == 1 and expected == 1 and last < features:
        raise InputError(
            f"{start}no line has index {features}, so its {features} features may count from 0, and those of the "
            f"training data count from 1. Write {from_1}; if they count from 0, first raise all indices by 1"
        )
    if first == 0 and expected == 1:
        raise InputError(
            f"{start}has index 0, but the features of the training data count from 1, as no line there has index 0: "
            f"raise all indices by 1; or, if the training data count from 0, too, write {from_0} there and train again"
        )
    if last >= first + features:
        raise InputError(
            f"{start}has index {last}, but the {features} features of the training data end at index "
            f"{first + features - 1}: remove the features behind it; or write {last}:0 at the end of the first line of "
            "the training data, and train again"
        )
    return first
