"""Runs a grid search over a pipeline, under a launcher or with n_jobs; rank 0 prints best parameters and scores."""

import json
import sys
import warnings

from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnmpi import MLPClassifier
from nnmpi.mpi.launcher import launched

warnings.simplefilter("ignore", ConvergenceWarning)
estimator = MLPClassifier((8,), max_iter=8, random_state=0, deterministic=True, n_jobs=int(sys.argv[1]))
grid = {"mlpclassifier__learning_rate_init": [0.001, 0.03], "mlpclassifier__solver": ["adam", "sgd"]}
search = GridSearchCV(make_pipeline(StandardScaler(), estimator), grid, cv=3, scoring="neg_log_loss")
search.fit(*load_iris(return_X_y=True))
if launched()[2] == 0:
    print(json.dumps([search.best_params_, search.cv_results_["mean_test_score"].tolist()]), flush=True)
