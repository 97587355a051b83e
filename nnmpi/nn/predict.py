"""The outputs of a network for any number of samples, computed in chunks."""

from dataclasses import replace
from typing import Any

import numpy as np

from nnmpi.arrays import Array
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.network import Network

CHUNK = 256  # samples in one forward pass; the same on every rank, so that the bits are the same


def in_float64(architecture: Architecture, parameters: Array) -> Network:
    """Return a trained network for predictions in float64, also if it was trained in float32.

    In float32, libraries that add in different orders give probabilities that differ by up to 1e-5.
    """
    return Network(replace(architecture, dtype="float64"), parameters.astype(np.float64), CHUNK)


def outputs_of(architecture: Architecture, parameters: Array, X: Any) -> Array:
    """Return the outputs after the output activation, shape (n, outputs); `X` is an array or a sparse CSR matrix.

    Raises
    ------
    ValueError
        If an output is not finite.
    """
    count, features = X.shape
    network = Network(architecture, parameters, min(CHUNK, count))
    outputs: Array = np.empty((count, architecture.sizes[-1]), parameters.dtype)
    x: Array = np.ones((min(CHUNK, count), 1 + features), parameters.dtype)  # column 0 feeds the bias
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, count, CHUNK):
            rows = X[start : start + CHUNK]
            x[: rows.shape[0], 1:] = rows.toarray() if hasattr(rows, "toarray") else rows
            outputs[start : start + CHUNK] = network.predict(x[: rows.shape[0]].T).T
    check_finite(outputs)
    return outputs


def check_finite(outputs: Array) -> None:
    """Check the outputs for the samples ``X``, shape (n, outputs).

    Raises
    ------
    ValueError
        If one is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(bad):
        raise ValueError(
            f"the output for X[{bad[0]}] is not finite in {outputs.dtype}: the values of this row are too far from "
            "those in training. Remove or correct such rows"
        )
