"""scikit-learn's own tests of its MLPs, run with nnmpi's classes."""

import importlib
import sys
from collections.abc import Iterator

import pytest
import sklearn.neural_network
from threadpoolctl import threadpool_limits

import nnmpi

pytestmark = pytest.mark.filterwarnings("ignore")  # the tests stop estimators before they converge

NEED_LBFGS = "needs solver='lbfgs', which nnmpi refuses"
LEFT_OUT = {
    "test_gradient": f"{NEED_LBFGS}, and scikit-learn's private _loss_grad_lbfgs",
    "test_lbfgs_classification": NEED_LBFGS,
    "test_lbfgs_classification_maxfun": NEED_LBFGS,
    "test_lbfgs_regression": NEED_LBFGS,
    "test_lbfgs_regression_maxfun": NEED_LBFGS,
    "test_mlp_vs_poisson_glm_equivalent": NEED_LBFGS,
    "test_multilabel_classification": f"{NEED_LBFGS}; test_estimators.py tests the rest",
    "test_multioutput_regression": NEED_LBFGS,
    "test_predict_proba_multilabel": NEED_LBFGS,
    "test_sparse_matrices": f"{NEED_LBFGS}; test_estimators.py has it with adam",
    "test_warm_start": f"{NEED_LBFGS}; test_estimators.py has it with adam",
}

NAME = "sklearn.neural_network.tests.test_mlp"
with pytest.MonkeyPatch.context() as patch:
    sys.modules.pop(NAME, None)
    patch.setattr(sklearn.neural_network, "MLPClassifier", nnmpi.MLPClassifier)
    patch.setattr(sklearn.neural_network, "MLPRegressor", nnmpi.MLPRegressor)
    sklearn_tests = importlib.import_module(NAME)
    sys.modules.pop(NAME)

globals().update(
    {name: test for name, test in vars(sklearn_tests).items() if name.startswith("test_") and name not in LEFT_OUT}
)


# scikit-learn's cases without the solver lbfgs
sklearn_tests.test_mlp_warm_start_no_convergence.pytestmark = [
    pytest.mark.parametrize("MLPEstimator", [nnmpi.MLPClassifier, nnmpi.MLPRegressor]).mark,
    pytest.mark.parametrize("solver", ["sgd", "adam"]).mark,
]


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Networks this small are slower with more threads, most of all on busy cores."""
    with threadpool_limits(1, user_api="blas"):
        yield


def test_tests_left_out_are_there() -> None:
    assert set(LEFT_OUT) <= set(vars(sklearn_tests))
