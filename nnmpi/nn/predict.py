"""The outputs of a network for any number of samples, some at a time."""

from dataclasses import replace
from typing import Any

import numpy as np

from nnmpi.nn.architecture import Architecture
from nnmpi.nn.arrays import Array
from nnmpi.nn.network import Network

CHUNK = 256  # samples that go forward at once


def in_float64(architecture: Architecture, parameters: Array, max_block: int) -> Network:
    """A trained network to predict with: in float64, whatever it was trained in.

    In float32 two libraries that add up in another order have probabilities that differ by up to 1e-5.
    """
    wide: Array = parameters.astype(np.float64)
    return Network(replace(architecture, dtype="float64"), wide, max_block)


def outputs_of(architecture: Architecture, parameters: Array, X: Any) -> Array:
    """The outputs after the output activation, shape (n, outputs), of an array or a sparse matrix in rows (CSR)."""
    count, features = X.shape
    network = Network(architecture, parameters, min(CHUNK, count))
    outputs: Array = np.empty((count, architecture.sizes[-1]), parameters.dtype)
    x: Array = np.ones((min(CHUNK, count), 1 + features), parameters.dtype)  # column 0 feeds the bias
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, count, CHUNK):
            rows = X[start : start + CHUNK]
            x[: rows.shape[0], 1:] = rows.toarray() if hasattr(rows, "toarray") else rows
            outputs[start : start + CHUNK] = network.predict(x[: rows.shape[0]].T).T
    return outputs
