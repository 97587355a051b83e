"""Parameters and samples that users of scikit-learn's MLPs give to `MLPClassifier` and `MLPRegressor`."""

import re
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import load_iris
from sklearn.utils._param_validation import InvalidParameterError

import nnmpi

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
y_labels = np.eye(3, dtype=int)[y][:, :2]
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}


@pytest.mark.parametrize("labels", [5 * y_labels, (255 * y_labels).astype("u1"), sparse.csr_matrix(2.0 * y_labels)])
def test_a_number_in_columns_of_labels_is_a_1(labels: Any) -> None:
    ours, other = (module.MLPClassifier(**SMALL).fit(X, labels) for module in (nnmpi, neural_network))
    np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_)


@pytest.mark.parametrize(
    "labels",
    [
        2 * y_labels - 1,
        sparse.csr_matrix(2 * y_labels - 1),
        np.c_[y, y],
        np.c_[y, y] / 2,
        np.array(["a", "b"])[y_labels],
    ],
)
def test_other_columns_of_labels_are_refused(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"^y has several columns, which must hold 0 and 1, .*$"):
        nnmpi.MLPClassifier(**SMALL).fit(X, labels)


@pytest.mark.parametrize(
    ("numbers", "loss", "message"),
    [
        (np.array(["1", "2", "3"])[y], "squared_error", "got ndarray of <U1: convert it, .* astype"),
        (y.astype("M8[D]"), "squared_error", "got ndarray of datetime64"),
        (sparse.csr_matrix(y_labels), "squared_error", "got csr_matrix of int64: .*toarray"),
        (y - 1.5, "poisson", "loss='poisson' needs y of at least 0, got -1.5"),
    ],
)
def test_targets_that_are_no_numbers_for_the_loss_are_refused(numbers: Any, loss: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nnmpi.MLPRegressor(loss, **SMALL).fit(X, numbers)


@pytest.mark.parametrize("sizes", [None, "8", 0, -1])
def test_hidden_layers_are_refused_as_by_scikit_learn(sizes: Any) -> None:
    with pytest.raises(InvalidParameterError, match=f"must be an array-like or an int .* Got {re.escape(repr(sizes))}"):
        nnmpi.MLPClassifier(sizes).fit(X, y)


@pytest.mark.parametrize("sizes", [(8.5,), ("8",), ((8, 4),), (None,)])
def test_units_are_whole_numbers(sizes: Any) -> None:
    with pytest.raises(ValueError, match="hidden_layer_sizes must be whole numbers > 0, got"):
        nnmpi.MLPClassifier(sizes).fit(X, y)


def test_a_validation_fraction_of_0_is_named() -> None:
    with pytest.raises(ValueError, match="Increase 'validation_fraction'"):
        nnmpi.MLPClassifier(early_stopping=True, validation_fraction=0.0).fit(X, y)


def test_a_part_without_weight_is_refused() -> None:
    estimator = nnmpi.MLPClassifier(**SMALL, early_stopping=True)
    messages = set()
    for row in range(0, 150, 7):
        with pytest.raises(ValueError, match=r"all weights of the (training|validation) samples are 0") as error:
            estimator.fit(X, y, np.arange(150) == row)
        messages.add(str(error.value))
    assert len(messages) == 2


def test_class_weights_may_have_classes_that_are_missing() -> None:
    weighted = nnmpi.MLPClassifier(**SMALL, class_weight={0: 2, 1: 3, 2: 4}).fit(X[:100], y[:100])
    expected = neural_network.MLPClassifier(**SMALL).fit(X[:100], y[:100], np.where(y[:100], 3, 2))
    np.testing.assert_allclose(weighted.loss_curve_, expected.loss_curve_)
    with pytest.raises(ValueError, match=r"class_weight has the labels \['a', 5\], the classes are \[0, 1, 2\]"):
        nnmpi.MLPClassifier(class_weight={0: 1, "a": 2, 5: 3}).fit(X, y)
    for weight in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="class_weight must have finite numbers of at least 0"):
            nnmpi.MLPClassifier(class_weight={0: weight}).fit(X, y)


def test_logarithms_of_small_probabilities_are_those_of_scikit_learn() -> None:
    ours, other = (module.MLPClassifier(**SMALL).fit(X, y > 0) for module in (nnmpi, neural_network))
    with np.errstate(divide="ignore"):  # the probability of the other class may be 1
        expected = other.predict_log_proba(100 * X)[:, 1]
    assert expected.min() < -50
    np.testing.assert_allclose(ours.predict_log_proba(100 * X)[:, 1], expected, rtol=1e-9)


@pytest.mark.parametrize(
    "parameters",
    [
        {"tol": 1.0, "n_iter_no_change": 1},
        {"tol": 1.0, "n_iter_no_change": 1, "early_stopping": True},
        {"tol": 1.0, "n_iter_no_change": 1, "solver": "sgd", "learning_rate": "adaptive", "max_iter": 30},
        {"early_stopping": True, "warm_start": True},
    ],
    ids=str,
)
def test_prints_what_scikit_learn_prints(parameters: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for module in (nnmpi, neural_network):
        estimator = module.MLPClassifier(**SMALL | parameters, verbose=True).fit(X, y).fit(X, y)
        if not estimator.early_stopping:
            estimator.partial_fit(X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
