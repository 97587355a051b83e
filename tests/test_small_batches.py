"""Batches smaller than the number of shards, compared with plain NumPy; on several ranks: mpi/test_deterministic.py."""

import numpy as np
import pytest
import reference

import nnmpi
from nnmpi.data.parts import split
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.shards import shard_rows
from nnmpi.data.sources.arrays import arrays
from nnmpi.errors import InputError
from nnmpi.nn.architecture import Architecture, glorot_uniform

SEED, EPOCHS, RATE = 3, 2, 0.1
G = np.random.default_rng(0)
X = G.normal(size=(37, 4))
Y = np.column_stack([X[:, 0] * 2, np.tanh(X[:, 1])])
SETTINGS = {"hidden": (5,), "epochs": EPOCHS, "learning_rate": RATE, "lr_schedule": "constant", "momentum": 0.0}
SETTINGS |= {"activation": "tanh", "dtype": "float64", "seed": SEED, "threads": 1}


def steps(rows, epoch, shards, batch_size):
    """Return the rows of each step: position p belongs to shard p mod S."""
    orders = []
    for shard in range(shards):
        rows_of_shard = shard_rows(rows, shards, shard)
        orders.append(rows_of_shard[stream(SEED, Purpose.ORDER, epoch, shard=shard).permutation(len(rows_of_shard))])
    sequence = [orders[p % shards][p // shards] for p in range(len(rows))]
    return [sequence[a : a + batch_size] for a in range(0, len(rows), batch_size)]


def expected_parameters(shards, batch_size):
    rows = split(arrays(X, Y), 0.2, 0.0, SEED, False).training
    x, y = ((a - a[rows].mean(axis=0)) / a[rows].std(axis=0) for a in (X, Y))
    architecture = Architecture((4, 5, 2), "tanh", "identity", "mse", "float64")
    initial = glorot_uniform(architecture, stream(SEED, Purpose.PARAMETERS))
    (w, v), (b, c) = reference.weights_and_biases(architecture.sizes, initial)
    for epoch in range(EPOCHS):
        for batch in steps(rows, epoch, shards, batch_size):
            h = np.tanh(x[batch] @ w + b)
            # the loss is the mean over two outputs, so the factor 2 cancels
            delta = (h @ v + c - y[batch]) / len(batch)
            below = delta @ v.T * (1 - h**2)
            v, c = v - RATE * h.T @ delta, c - RATE * delta.sum(axis=0)
            w, b = w - RATE * x[batch].T @ below, b - RATE * below.sum(axis=0)
    return reference.flattened([w, v], [b, c])


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
@pytest.mark.parametrize("shards", [1, 8, 40])  # with 40 shards, some are always empty
def test_steps_are_those_of_numpy(shards, batch_size, deterministic):
    options = {"shards": shards, "batch_size": batch_size, "deterministic": deterministic}
    parameters = nnmpi.train(X, Y, **SETTINGS, **options).model.parameters
    np.testing.assert_allclose(parameters, expected_parameters(shards, batch_size), rtol=1e-10, atol=1e-12)


def test_more_shards_than_samples_and_steps_that_fill_the_memory_are_refused():
    """For each step, memory holds where each shard's samples begin."""
    settings = {"epochs": 1, "hidden": (2,)}
    with pytest.raises(InputError, match=r"^shards 1000000 for 120 training samples; allowed are up to 120"):
        nnmpi.train("iris", shards=10**6, **settings)
    with pytest.raises(InputError, match=r"^shards 300000 with batch_size 1 needs at least .* GB per rank"):
        nnmpi.train("random:400000x1x2", shards=300_000, batch_size=1, **settings)
