"""scikit-learn's MLPClassifier on one process: seconds of a training step.

``fit`` over few and over many epochs; their difference is free of what fit does once. fit shuffles in each epoch.

Variant: Haswell (OpenBLAS's kernel for AVX2, which on some processors is faster than the one that it chooses).
"""

import os
import sys
import time
import warnings

if "Haswell" in sys.argv:
    os.environ["OPENBLAS_CORETYPE"] = "Haswell"  # OpenBLAS reads it when NumPy loads it

import sklearn
from shared import LEARNING_RATE, MOMENTUM, answer, arguments, made_up
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

asked = arguments()
warnings.simplefilter("ignore", ConvergenceWarning)  # it is told how many epochs to do
sklearn.set_config(assume_finite=True)
x, y = made_up(asked.layers, asked.batch * asked.steps)


def fit(epochs: int) -> float:
    """Seconds of a fit."""
    model = MLPClassifier(
        tuple(asked.layers[1:-1]),
        solver="sgd",
        alpha=0.0,
        batch_size=asked.batch,
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=True,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=10**9,
        random_state=0,
    )
    started = time.perf_counter()
    model.fit(x, y)
    seconds = time.perf_counter() - started
    assert model.n_iter_ == epochs
    return seconds


fit(1)
once = fit(1)
many = fit(1 + asked.chunks)
answer([(many - once) / (asked.chunks * asked.steps)], ["scikit-learn", "numpy"])
