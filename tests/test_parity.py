"""The same numbers as scikit-learn and PyTorch, from the same start and with the same samples.

scikit-learn's `MLPClassifier` and `MLPRegressor` run their own update code here, full batch, from nnmpi's initial
parameters. PyTorch is not needed: its SGD follows the formulas of its documentation (torch.optim.SGD, "Algorithm"),
``b = μb + g``, then ``w -= η(g + μb)`` with Nesterov and ``w -= ηb`` without.
"""

import warnings
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from nnmpi.data.random_streams import Purpose, stream
from nnmpi.nn.architecture import Architecture, glorot_uniform
from nnmpi.nn.network import Network
from nnmpi.nn.optimizers import SGD, Adam

UPDATES, ETA, MU, ALPHA = 20, 0.05, 0.9, 0.3
TINY = 1e-30
SAMPLES = 200


def samples(load: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = load(return_X_y=True)
    return StandardScaler().fit_transform(x)[:SAMPLES], y[:SAMPLES]


def nnmpi_layers(
    x: np.ndarray, t: np.ndarray, architecture: Architecture, optimizer: Any, eta: float, l2: float
) -> list[np.ndarray]:
    """Return nnmpi's layers, bias in row 0, after `UPDATES` full-batch updates."""
    parameters = glorot_uniform(architecture, stream(1, Purpose.PARAMETERS))
    network, update = Network(architecture, parameters, len(x)), optimizer(parameters)
    inputs = np.vstack([np.ones(len(x)), x.T])
    gradient = np.empty_like(parameters)
    layers = architecture.views(gradient)
    batch = network.bind([inputs], [t], [(layers, [])], training=True)
    for k in range(UPDATES):
        network.forward(batch)
        network.loss(batch)
        network.backward(batch)
        network.add_l2(layers, l2 * len(x))
        update.update(gradient, divide_by=len(x), learning_rate=eta, k=k)
    return architecture.views(parameters)


def sklearn_layers(estimator: Any, x: np.ndarray, y: np.ndarray, architecture: Architecture) -> list[np.ndarray]:
    """Return the same layers of a scikit-learn estimator that starts from nnmpi's initial parameters."""
    start = iter(architecture.views(glorot_uniform(architecture, stream(1, Purpose.PARAMETERS))))

    def initial(self: Any, fan_in: int, fan_out: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        layer = next(start)
        assert layer.shape == (1 + fan_in, fan_out)
        return layer[1:].copy(), layer[0].copy()

    with patch.object(type(estimator), "_init_coef", initial), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(x, y)
    assert estimator.n_iter_ == UPDATES
    return [np.vstack([b, w]) for w, b in zip(estimator.coefs_, estimator.intercepts_, strict=True)]


def settings(activation: str, **more: Any) -> dict[str, Any]:
    names = {"sigmoid": "logistic"}
    return {
        "hidden_layer_sizes": (12, 7),
        "activation": names.get(activation, activation),
        "learning_rate_init": ETA,
        "alpha": ALPHA,
        "batch_size": SAMPLES,
        "max_iter": UPDATES,
        "shuffle": False,
        "tol": 0.0,
        "n_iter_no_change": UPDATES + 1,
        **more,
    }


def compare(a: list[np.ndarray], b: list[np.ndarray], tolerance: float) -> None:
    for layer, expected in zip(a, b, strict=True):
        assert np.abs(layer - expected).max() <= tolerance * np.abs(expected).max()


SOLVERS = {
    "sgd": ({"solver": "sgd", "momentum": 0.0}, lambda w: SGD(w, 0.0, False), 1e-10),
    "momentum": ({"solver": "sgd", "nesterovs_momentum": False}, lambda w: SGD(w, MU, False), 1e-10),
    "nesterov": ({"solver": "sgd", "nesterovs_momentum": True}, lambda w: SGD(w, MU, True), 1e-10),
    # scikit-learn adds ε before the bias correction of v, as the paper's second form; nnmpi adds it after, as the
    # first form. So ε is tiny here.
    "adam": ({"solver": "adam", "epsilon": TINY}, lambda w: Adam(w, epsilon=TINY), 1e-8),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "identity"])
def test_classifier_of_ten_classes(activation: str, solver: str) -> None:
    x, y = samples(load_digits)
    options, optimizer, tolerance = SOLVERS[solver]
    architecture = Architecture((64, 12, 7, 10), activation, "softmax", "cross-entropy", "float64")
    t = np.eye(10)[y].T
    mlp = MLPClassifier(**settings(activation, **options))
    # scikit-learn's gradient is (Xᵀδ + αW) / m, nnmpi's is Xᵀδ / m + λW
    layers = nnmpi_layers(x, t, architecture, optimizer, ETA, ALPHA / SAMPLES)
    compare(layers, sklearn_layers(mlp, x, y, architecture), tolerance)


@pytest.mark.parametrize("solver", SOLVERS)
def test_classifier_of_two_classes(solver: str) -> None:
    x, y = samples(load_breast_cancer)
    options, optimizer, tolerance = SOLVERS[solver]
    architecture = Architecture((30, 12, 7, 1), "tanh", "sigmoid", "binary-cross-entropy", "float64")
    mlp = MLPClassifier(**settings("tanh", **options))
    layers = nnmpi_layers(x, y[None].astype(float), architecture, optimizer, ETA, ALPHA / SAMPLES)
    compare(layers, sklearn_layers(mlp, x, y, architecture), tolerance)


@pytest.mark.parametrize("solver", ["sgd", "momentum", "nesterov"])
def test_regressor(solver: str) -> None:
    """scikit-learn's loss is half of nnmpi's, so nnmpi's learning rate is half as large and its λ twice as large."""
    x, y = samples(load_diabetes)
    y = (y - y.mean()) / y.std()
    options, optimizer, tolerance = SOLVERS[solver]
    architecture = Architecture((10, 12, 7, 1), "relu", "identity", "mse", "float64")
    mlp = MLPRegressor(**settings("relu", **options))
    layers = nnmpi_layers(x, y[None], architecture, optimizer, ETA / 2, 2 * ALPHA / SAMPLES)
    compare(layers, sklearn_layers(mlp, x, y, architecture), tolerance)


@pytest.mark.parametrize("nesterov", [False, True])
def test_pytorch_formulas(nesterov: bool) -> None:
    generator = np.random.default_rng(0)
    w = generator.standard_normal(50)
    parameters, expected, b = w.copy(), w.copy(), np.zeros(50)
    sgd = SGD(parameters, MU, nesterov)
    for k in range(UPDATES):
        g = generator.standard_normal(50)
        b = MU * b + g if k else g.copy()  # PyTorch's first b is g
        expected -= ETA * (g + MU * b if nesterov else b)
        sgd.update(g * 32, divide_by=32, learning_rate=ETA, k=k)
    np.testing.assert_allclose(parameters, expected, rtol=1e-12)
