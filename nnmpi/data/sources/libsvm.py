"""``.svm`` and ``.libsvm`` files: a label and index:value pairs a line, read by scikit-learn; rows are made dense."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nnmpi.data.npy import DAMAGE, first_line
from nnmpi.data.sources.arrays import checked_y
from nnmpi.data.sources.source import Indices, Request, Source
from nnmpi.errors import InputError

NUMBERS_AT_ONCE = 1 << 21


def open_source(request: Request) -> Source:
    """Open the samples of the file. Each rank keeps a sparse copy of all of them."""
    name = request.name
    from sklearn.datasets import load_svmlight_file  # takes a second and 90 MB, only for such files

    try:
        x, y = load_svmlight_file(name)
    except (*DAMAGE, TypeError, IndexError) as error:
        raise InputError(
            f"--data {name}: cannot be read ({first_line(error)}); each line must be: LABEL INDEX:VALUE INDEX:VALUE …"
        ) from None
    size, features = x.shape
    if not size or not features:
        raise InputError(f"--data {name}: holds no samples")

    def read(indices: Indices, out: npt.NDArray[Any]) -> None:
        at_once = max(1, NUMBERS_AT_ONCE // features)
        for start in range(0, len(indices), at_once):
            x[indices[start : start + at_once]].toarray(out=out[start : start + at_once])

    return Source(name, read, size, features, checked_y(name, np.asarray(y), size), files=(name,))
