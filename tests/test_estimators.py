"""`MLPClassifier` and `MLPRegressor` in one process, compared with scikit-learn's."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from ranks import on_ranks
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_regression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nnmpi
import nnmpi.memory
from nnmpi import MLPClassifier
from nnmpi.errors import InputError
from nnmpi.mpi.world import World

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_digits(return_X_y=True)
X, y = X[:500] / 16, y[:500]
X_numbers, y_numbers = make_regression(200, 10, n_targets=3, random_state=0)
y_numbers = y_numbers / 100
X_labels = np.random.default_rng(1).normal(size=(120, 20))
y_labels = (X_labels @ np.random.default_rng(2).normal(size=(20, 5)) > 0.5).astype(int)
WEIGHTS = np.random.RandomState(0).rand(500)
SMALL = {"hidden_layer_sizes": (12, 7), "max_iter": 6, "random_state": 3}


def assert_same(ours: Any, other: Any, tolerance: float = 1e-9) -> None:
    for array, expected in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(array, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=0, atol=tolerance)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(ours, name) == getattr(other, name), name
    for name in ("best_loss_", "best_validation_score_", "validation_scores_"):
        assert getattr(ours, name) == pytest.approx(getattr(other, name), abs=tolerance), name


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 500},
        {"solver": "sgd", "batch_size": 500, "learning_rate_init": 0.1},
        {"batch_size": 33, "activation": "tanh", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        {"batch_size": 1, "max_iter": 1},
        {"solver": "sgd", "momentum": 0, "activation": "logistic", "alpha": 1.0},
        {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "invscaling", "shuffle": False},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1},
        {"early_stopping": True, "activation": "identity"},
        {"tol": 0.5, "n_iter_no_change": 2},
    ],
    ids=str,
)
def test_fits_as_scikit_learn(parameters: dict[str, Any]) -> None:
    parameters = SMALL | parameters
    for arrays in ((X, y), (X, y > 4, WEIGHTS), (X, y, WEIGHTS)):
        ours, other = (module.MLPClassifier(**parameters).fit(*arrays) for module in (nnmpi, neural_network))
        assert_same(ours, other)
        np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), atol=1e-9)
    parameters["batch_size"] = min(parameters.get("batch_size", 50), 50)
    for Y in (y_numbers, y_numbers[:, 0]):
        assert_same(*(module.MLPRegressor(**parameters).fit(X_numbers, Y) for module in (nnmpi, neural_network)))


def test_several_labels_and_poisson_as_scikit_learn() -> None:
    assert_same(*(module.MLPClassifier(**SMALL).fit(X_labels, y_labels) for module in (nnmpi, neural_network)))
    poisson = SMALL | {"loss": "poisson"}
    assert_same(*(module.MLPRegressor(**poisson).fit(X_numbers, abs(y_numbers)) for module in (nnmpi, neural_network)))


def test_going_on_as_scikit_learn() -> None:
    ours, other = (module.MLPClassifier(**SMALL, warm_start=True).fit(X, y) for module in (nnmpi, neural_network))
    assert_same(ours.fit(X, y), other.fit(X, y))
    for _ in range(3):
        assert_same(ours.partial_fit(X, y), other.partial_fit(X, y))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ours)).predict(X), other.predict(X))


def test_a_random_state_goes_on_where_scikit_learns_would() -> None:
    ours, other = (np.random.RandomState(5) for _ in range(2))
    nnmpi.MLPClassifier(max_iter=2, random_state=ours).fit(X, y)
    neural_network.MLPClassifier(max_iter=2, random_state=other).fit(X, y)
    assert ours.rand() == other.rand()


def test_class_weights_are_sample_weights() -> None:
    counts = np.bincount(y)
    weights = len(y) / (len(counts) * counts[y])
    by_class = nnmpi.MLPClassifier(**SMALL, class_weight="balanced").fit(X, y)
    assert_same(by_class, neural_network.MLPClassifier(**SMALL).fit(X, y, sample_weight=weights))
    names = np.array(["no", "yes"])[(y > 4).astype(int)]
    by_class = nnmpi.MLPClassifier(**SMALL, class_weight={"yes": 3}).fit(X, names, WEIGHTS)
    expected = neural_network.MLPClassifier(**SMALL).fit(X, names, sample_weight=WEIGHTS * np.where(y > 4, 3, 1))
    assert_same(by_class, expected)
    with pytest.raises(ValueError, match="class_weight has the labels"):
        nnmpi.MLPClassifier(class_weight={"maybe": 1}).fit(X, names)


def test_computes_in_the_type_of_the_samples_or_in_that_asked_for() -> None:
    for dtype, setting, expected in (
        (np.float32, None, "float32"),
        (int, None, "float64"),
        (float, "float32", "float32"),
    ):
        fitted = nnmpi.MLPRegressor(max_iter=1, dtype=setting).fit(X_numbers.astype(dtype), y_numbers)
        assert {array.dtype.name for array in fitted.coefs_ + fitted.intercepts_} == {expected}


def test_sparse_samples_fit_as_dense_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = sparse.csc_matrix(X)
    dense, from_sparse = (nnmpi.MLPClassifier(**SMALL).fit(samples, y) for samples in (X, matrix))
    assert_same(from_sparse, dense, 0)
    np.testing.assert_array_equal(from_sparse.predict(matrix), dense.predict(X))
    large = sparse.csr_matrix((1000, 10**12 // 8))
    with pytest.raises(InputError, match=r"X, 1000 × 125000000000 numbers as a dense array, needs at least .* GB"):
        nnmpi.MLPClassifier().fit(large, np.arange(1000) % 2)


def test_dropout_and_the_deterministic_reduction() -> None:
    dropped, again = (nnmpi.MLPClassifier(**SMALL, dropout=0.3).fit(X, y) for _ in range(2))
    assert_same(again, dropped, 0)
    assert not np.allclose(dropped.coefs_[0], nnmpi.MLPClassifier(**SMALL).fit(X, y).coefs_[0])
    assert_same(
        nnmpi.MLPClassifier(**SMALL, deterministic=True).fit(X, y), neural_network.MLPClassifier(**SMALL).fit(X, y)
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "lbfgs"}, "solver='lbfgs' is not available in nnmpi.*'adam' and 'sgd'"),
        ({"dropout": 1}, "'dropout' parameter of MLPClassifier must be a float in the range \\[0.0, 1.0\\)"),
        ({"n_jobs": 0}, "'n_jobs' parameter"),
        ({"dtype": "float16"}, "'dtype' parameter"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be whole numbers > 0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nnmpi.MLPClassifier(**parameters).fit(X, y)


def test_other_layers_than_those_to_go_on_with_are_refused() -> None:
    fitted = nnmpi.MLPClassifier(**SMALL, warm_start=True).fit(X, y).set_params(hidden_layer_sizes=(9,))
    with pytest.raises(ValueError, match="fit anew, with warm_start=False"):
        fitted.fit(X, y)


def test_a_loss_that_is_infinite_keeps_the_best_weights() -> None:
    with pytest.warns(match="the loss became NaN or infinite in epoch 4"):
        fitted = nnmpi.MLPRegressor(
            activation="identity", solver="sgd", learning_rate_init=1e10, early_stopping=True, random_state=0
        ).fit(X_numbers, 1e3 * y_numbers)
    assert np.isfinite(fitted.predict(X_numbers)).all()


def test_pipelines_scores_and_metadata() -> None:
    iris = load_iris(return_X_y=True)
    scores = [
        cross_val_score(make_pipeline(StandardScaler(), module.MLPClassifier(random_state=0, max_iter=20)), *iris, cv=3)
        for module in (nnmpi, neural_network)
    ]
    np.testing.assert_array_equal(*scores)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = nnmpi.MLPClassifier(max_iter=2, random_state=0).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), estimator).fit(
            *iris, sample_weight=np.arange(150.0)
        )
        expected = clone(estimator).fit(pipeline[0].transform(iris[0]), iris[1], np.arange(150.0))
        assert_same(pipeline[-1], expected, 0)


def test_a_saved_estimator_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "digits.safetensors"
    for labels in (y, np.array(["odd", "even"], object)[y % 2]):
        fitted = nnmpi.MLPClassifier(**SMALL).fit(X, labels)
        fitted.save(path)
        np.testing.assert_array_equal(nnmpi.load(path).predict(X), fitted.predict(X))
        np.testing.assert_allclose(nnmpi.load(path).predict_proba(X), fitted.predict_proba(X), atol=1e-12)
    numbers = nnmpi.MLPRegressor(**SMALL).fit(X_numbers, y_numbers)
    numbers.save(path)
    np.testing.assert_allclose(nnmpi.load(path).predict(X_numbers), numbers.predict(X_numbers), atol=1e-12)
    multilabel = nnmpi.MLPClassifier(**SMALL).fit(X_labels, y_labels)
    multilabel.save(path)
    np.testing.assert_array_equal(nnmpi.load(path).predict(X_labels), multilabel.predict(X_labels))
    np.testing.assert_allclose(nnmpi.load(path).predict_proba(X_labels), multilabel.predict_proba(X_labels), atol=1e-12)


def test_the_other_half_of_scikit_learns_tests_that_need_lbfgs() -> None:
    mlp = nnmpi.MLPClassifier(
        50, solver="sgd", random_state=0, activation="logistic", alpha=1e-5, learning_rate_init=0.2
    )
    for _ in range(100):
        mlp.partial_fit(X_labels[:50], y_labels[:50], classes=[0, 1, 2, 3, 4])
    assert mlp.score(X_labels[:50], y_labels[:50]) > 0.9
    assert (mlp.predict_proba(X_labels).sum(axis=1) - 1).std() > 1e-5
    iris_X, iris_y = load_iris(return_X_y=True)
    clf = nnmpi.MLPClassifier(2, warm_start=True, random_state=42, tol=1e-2).fit(iris_X, iris_y)
    clf.fit(iris_X, np.repeat([0, 1, 2], [40, 40, 70]))
    with pytest.raises(ValueError, match="same classes as in the previous call to fit"):
        clf.fit(iris_X, np.repeat([0, 1], 75))


@pytest.mark.slow
def test_importing_nnmpi_imports_no_estimator() -> None:
    script = (
        "import sys, nnmpi; print('sklearn' in sys.modules); nnmpi.MLPClassifier; print('mpi4py.MPI' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_fit_warns_where_scikit_learn_does() -> None:
    with pytest.warns(UserWarning, match="clipped"):
        nnmpi.MLPClassifier(batch_size=1000, max_iter=1).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(sklearn.exceptions.ConvergenceWarning, match=r"Maximum iterations \(1\) reached"):
            nnmpi.MLPClassifier(max_iter=1).fit(X, y)


def test_warm_start_with_shards_counts_the_labels_of_all_ranks() -> None:
    def fit(world: World) -> None:
        clf = MLPClassifier(warm_start=True)
        own = [["a", "b"], ["b", "c", "c"]][world.rank]  # each rank lacks a class
        for _ in range(2):
            clf._encode(np.array(own, object), False, True, world)
            assert clf.classes_.tolist() == ["a", "b", "c"]
        for labels in (["a", "b"], ["a", "b", "c", "d"]):
            with pytest.raises(ValueError, match="same classes as in the previous call"):
                clf._encode(np.array(labels), False, True, world)

    on_ranks(2, fit)
