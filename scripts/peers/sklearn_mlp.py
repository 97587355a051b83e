"""scikit-learn's MLPClassifier on one process: seconds of a training step.

The time is the difference of two fits, over one and over many epochs, which removes the constant cost of ``fit``. fit
shuffles in each epoch.

Variant: Haswell (OpenBLAS's kernel for AVX2, which is faster on some processors than OpenBLAS's own choice).
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

options = arguments()
warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed
sklearn.set_config(assume_finite=True)
x, y = made_up(options.layers, options.batch * options.steps)


def fit(epochs: int) -> float:
    """Return the seconds of a fit."""
    model = MLPClassifier(
        tuple(options.layers[1:-1]),
        solver="sgd",
        alpha=0.0,
        batch_size=options.batch,
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
many = fit(1 + options.chunks)
answer([(many - once) / (options.chunks * options.steps)], ["scikit-learn", "numpy"])
