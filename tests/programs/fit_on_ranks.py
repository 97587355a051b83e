"""Fits estimators under a launcher: on equal rows, on shards of rows, with errors; every rank prints "right"."""

import pickle
import warnings

import numpy as np
from mpi4py import MPI
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as ScikitLearnClassifier

from nnmpi import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore", ConvergenceWarning)
world = MPI.COMM_WORLD
X, y = load_digits(return_X_y=True)
X = X / 16
small = {"hidden_layer_sizes": (12,), "max_iter": 3, "random_state": 1}


def largest_difference(one, other) -> float:
    pairs = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return max(np.abs(a - b).max() for a, b in pairs)


def bits(estimator) -> bytes:
    return b"".join(array.tobytes() for array in estimator.coefs_ + estimator.intercepts_)


def same_everywhere(estimator) -> bool:
    return len(set(world.allgather(bits(estimator)))) == 1


ours = MLPClassifier(**small).fit(X, y)
assert same_everywhere(ours)
assert largest_difference(ours, ScikitLearnClassifier(**small).fit(X, y)) < 1e-12

alone = MLPClassifier(**small, deterministic=True, comm=MPI.COMM_SELF).fit(X, y)
together = MLPClassifier(**small, deterministic=True).fit(X, y)
assert bits(alone) == bits(together)
own_comm = world.Split(color=world.rank)  # a communicator that can be neither copied nor pickled
alone_on_comm = clone(MLPClassifier(**small, deterministic=True, comm=own_comm)).fit(X, y)
assert alone_on_comm.comm is own_comm
assert bits(pickle.loads(pickle.dumps(alone_on_comm))) == bits(alone)

unseeded = MLPClassifier((5,), max_iter=1).fit(X, y)  # random_state=None
assert same_everywhere(unseeded)

# each rank has its own rows; their numbers differ, and some ranks lack classes; labels are strings
names = np.array([f"digit {code}" for code in y], object)
order = np.argsort(y, kind="stable")
ends = [0, *(len(y) * np.arange(1, world.size) // (2 * world.size)), len(y)]
own = order[ends[world.rank] : ends[world.rank + 1]]
weights = np.where(np.arange(len(y)) % 3 == 0, 0.0, 2.0)
full = {"hidden_layer_sizes": (12,), "max_iter": 5, "random_state": 1, "batch_size": len(y)}
sharded = MLPClassifier(**full, class_weight="balanced")
sharded.fit(X[own], names[own], weights[own], shard=True)
whole = MLPClassifier(**full, class_weight="balanced", comm=MPI.COMM_SELF).fit(X, names, weights)
assert same_everywhere(sharded)
assert list(sharded.classes_) == list(whole.classes_)
assert largest_difference(sharded, whole) < 1e-12
warm = MLPClassifier(**full, warm_start=True)
for _ in range(2):
    warm.fit(X[own], names[own], shard=True)
assert same_everywhere(warm)
regressor = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, early_stopping=True, random_state=0)
assert same_everywhere(regressor.fit(X[own], X[own, :2], shard=True))


def refusal(samples, labels=y) -> str:
    try:
        MLPClassifier(**small).fit(samples, labels)
    except ValueError as error:
        return str(error)
    return ""


assert "NaN" in refusal(np.where(world.rank == world.size - 1, np.nan, X))  # on the last rank
assert world.size == 1 or "different samples" in refusal(X + world.rank)
assert world.size == 1 or "different samples" in refusal(X, y + 10 * world.rank)  # other names of the same classes
small["hidden_layer_sizes"] = (8 + world.rank,)
assert world.size == 1 or "different parameters" in refusal(X)
small["hidden_layer_sizes"] = (0 if world.rank else 8,)
assert world.size == 1 or "hidden_layer_sizes must be whole numbers > 0" in refusal(X)
world.Barrier()
print("right", flush=True)
