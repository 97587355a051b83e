"""Fitted estimators in skops files: they predict the same and go on in the same way, as after pickle."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnmpi import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
skops = pytest.importorskip("skops.io", reason="skops is not installed")

X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]
LABELS = np.stack([y % 2, y > 4, y == 0], axis=1).astype(int)
NAMES = np.array([f"digit {code}" for code in y])
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}


def through_skops(estimator: Any) -> Any:
    data = skops.dumps(estimator)
    return skops.loads(data, trusted=skops.get_untrusted_types(data=data))


def outputs(estimator: Any) -> Any:
    return estimator.predict_proba(X) if isinstance(estimator, MLPClassifier) else estimator.predict(X)


@pytest.mark.parametrize(
    ("kind", "targets", "parameters"),
    [
        (MLPClassifier, y, {}),
        (MLPClassifier, y, {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": np.inf}),
        (MLPClassifier, y, {"early_stopping": True}),
        (MLPClassifier, LABELS, {"dtype": "float32"}),
        (MLPClassifier, NAMES, {"class_weight": {"digit 0": 2.0}}),
        (MLPClassifier, NAMES.astype(object), {"solver": "sgd"}),
        (MLPClassifier, y == 1, {"random_state": np.random.RandomState(3)}),
        (MLPRegressor, y, {"loss": "poisson", "random_state": np.random.RandomState(3)}),
        (MLPRegressor, LABELS, {"solver": "sgd", "hidden_layer_sizes": np.array([8, 4])}),
        (MLPRegressor, y / 10, {"early_stopping": True}),
    ],
)
def test_estimators_from_skops_go_on_as_from_pickle(kind: Any, targets: Any, parameters: dict[str, Any]) -> None:
    estimator = kind(**{**SMALL, **parameters}).fit(X, targets)
    one, other = through_skops(estimator), pickle.loads(pickle.dumps(estimator))
    assert {name: type(value) for name, value in vars(one).items()} == {n: type(v) for n, v in vars(other).items()}
    np.testing.assert_array_equal(outputs(one), outputs(estimator))
    np.testing.assert_array_equal(one.predict(X), estimator.predict(X))
    steps = [lambda e: e.set_params(warm_start=True).fit(X, targets)]
    if not estimator.early_stopping:
        steps.insert(0, lambda e: e.partial_fit(X, targets))
    for step in steps:
        step(one)
        step(other)
        np.testing.assert_array_equal(outputs(one), outputs(other))
        assert one.loss_curve_ == other.loss_curve_
        one = through_skops(one)


def test_pipelines_and_searches_in_skops() -> None:
    frame = pd.DataFrame(X).add_prefix("pixel ")
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).fit(frame, NAMES)
    np.testing.assert_array_equal(through_skops(pipeline).predict_proba(frame), pipeline.predict_proba(frame))
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 0.1]}, cv=2).fit(frame, NAMES)
    np.testing.assert_array_equal(through_skops(search).predict_proba(frame), search.predict_proba(frame))
