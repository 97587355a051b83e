"""Runs scikit-learn's checks of both estimators on all ranks at once; every rank prints "passed"."""

import sys
import warnings

from sklearn.utils.estimator_checks import check_estimator

import nnmpi

n_jobs = int(sys.argv[1]) if sys.argv[1:] else None
warnings.simplefilter("ignore")
for estimator in (nnmpi.MLPClassifier, nnmpi.MLPRegressor):
    results = check_estimator(estimator(max_iter=20, n_jobs=n_jobs), on_skip=None)
    assert not [result for result in results if result["status"] not in ("passed", "skipped")]
print("passed", flush=True)
