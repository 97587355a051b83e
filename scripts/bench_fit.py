"""Times ``fit`` of nnmpi's MLPClassifier, alone and with two ranks below, against scikit-learn's, in one run.

Usage: .venv/bin/python scripts/bench_fit.py [--repeats 5] [--images FILE]

FILE has Fashion-MNIST's training images (IDX), beside their labels; without it only made-up samples are fitted. The
three take turns, so that a machine that is busy for a while is busy for all of them. The ranks are started before.
"""

# ruff: noqa: E402 (the number of threads first)

import argparse
import os
import statistics
import time
import warnings
from dataclasses import dataclass
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"  # one BLAS thread a process; read when NumPy is loaded

import numpy as np
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier as Theirs

import nnmpi
from nnmpi.data.sources import open_source

warnings.simplefilter("ignore")  # they end before they have converged


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str
    X: Any
    y: Any
    parameters: dict[str, Any]


def cases(images: str | None) -> list[Case]:
    """What is fitted; float32, as images and most tables are."""
    X, y = make_classification(20_000, 100, n_informative=20, n_classes=10, random_state=0)
    adam = {"hidden_layer_sizes": (100,), "batch_size": 200}
    listed = [Case("20,000 × 100, 10 classes, (100,), adam, 200", X.astype(np.float32), y, adam | {"max_iter": 10})]
    if images:
        source = open_source(images)
        X = np.empty((source.size, source.features), source.dtype)
        source.read(np.arange(source.size), X)
        X = X.astype(np.float32) / 255
        sgd = {"hidden_layer_sizes": (512, 512), "solver": "sgd", "batch_size": 256, "learning_rate_init": 0.01}
        listed += [
            Case("Fashion-MNIST, (100,), adam, 200", X, source.y, adam | {"max_iter": 3}),
            Case("Fashion-MNIST, (512, 512), sgd, 256", X, source.y, sgd | {"max_iter": 2}),
        ]
    return listed


def measure(case: Case, repeats: int) -> str:
    """The row of a case: medians in seconds, how much faster than scikit-learn, accuracies on the training samples."""
    fixed = {"random_state": 0, "n_iter_no_change": 10**6, **case.parameters}
    estimators = [Theirs(**fixed), nnmpi.MLPClassifier(**fixed), nnmpi.MLPClassifier(**fixed, n_jobs=2)]
    estimators[2].set_params(max_iter=1).fit(case.X, case.y).set_params(max_iter=fixed["max_iter"])
    seconds: list[list[float]] = [[] for _ in estimators]
    for _ in range(repeats):
        for times, estimator in zip(seconds, estimators, strict=True):
            start = time.perf_counter()
            estimator.fit(case.X, case.y)
            times.append(time.perf_counter() - start)
    medians = [statistics.median(times) for times in seconds]
    scores = " / ".join(f"{estimator.score(case.X[:10_000], case.y[:10_000]):.4f}" for estimator in estimators)
    one, two = (f"{m:.2f} s ({medians[0] / m:.2f} ×)" for m in medians[1:])
    return f"| {case.name} | {medians[0]:.2f} s | {one} | {two} | {scores} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images")
    arguments = parser.parse_args()
    print("| data, network, solver, batch | scikit-learn | one process | n_jobs=2 | accuracies |")
    print("| --- | --- | --- | --- | --- |")
    for case in cases(arguments.images):
        print(measure(case, arguments.repeats), flush=True)
