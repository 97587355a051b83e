"""scikit-learn's checks of estimators in one process. mpi/test_estimators_on_ranks.py runs them on several ranks."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import nnmpi

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([nnmpi.MLPClassifier(max_iter=100), nnmpi.MLPRegressor(max_iter=100)])
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)
