"""scikit-learn's callbacks in fits on ranks: under a launcher, or on as many ranks below as asked for; prints "right".

Usage: callbacks_on_ranks.py [N_JOBS]
"""

import sys
import warnings

import numpy as np
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnmpi import MLPClassifier
from nnmpi.mpi.open_world import open_world

warnings.simplefilter("ignore", ConvergenceWarning)
with open_world() as world:
    rank, last = world.rank, world.size - 1
X, y = load_digits(return_X_y=True)
parameters = {
    "hidden_layer_sizes": (12,),
    "max_iter": 3,
    "random_state": 1,
    "n_jobs": int(sys.argv[1]) if len(sys.argv) > 1 else None,
}


class Callback:
    """Stops the fit after the second epoch, or fails there."""

    def __init__(self, fails: bool) -> None:
        self.fails, self.ended = fails, 0

    def setup(self, estimator, context) -> None: ...

    def on_fit_task_begin(self, estimator, context) -> None: ...

    def on_fit_task_end(self, estimator, context) -> bool:
        if context.task_name == "epoch" and context.task_id == 1 and self.fails:
            raise KeyError("mistake")
        return context.task_name == "epoch" and context.task_id == 1

    def teardown(self, estimator, context) -> None:
        self.ended += 1


for more in ({}, {"early_stopping": True}):
    monitor = ScoringMonitor(scoring="accuracy")
    scored = MLPClassifier(**parameters, **more).set_callbacks(monitor, ProgressBar()).fit(X, y)
    scores = {row["task_id_path"]: row["accuracy"] for row in monitor.get_logs().data}
    fits = [MLPClassifier(**{**parameters, **more, "max_iter": epochs}).fit(X, y) for epochs in (1, 2, 3)]
    expected = {(0, epoch): fit.score(X, y) for epoch, fit in enumerate(fits)}
    assert scores == {**expected, (0,): expected[0, 2]}, (scores, expected)
    np.testing.assert_array_equal(scored.coefs_[0], fits[2].coefs_[0])

own = [Callback(fails=True)] if rank == last else []
failing = MLPClassifier(**parameters).set_callbacks(*own)
problem = ""
try:
    failing.fit(X, y)
except (KeyError, ValueError) as error:
    problem = str(error)
assert problem == ("'mistake'" if rank == last else f"'mistake' (on rank {last} of {last + 1})")
assert [callback.ended for callback in own] == [1] * len(own)
own = [Callback(fails=False)] if rank == last else []
assert MLPClassifier(**parameters).set_callbacks(*own).fit(X, y).n_iter_ == 2
pipeline = make_pipeline(StandardScaler(), MLPClassifier(**parameters))
if rank == 0:
    pipeline.set_callbacks(ProgressBar())
assert pipeline.fit(X, y)[-1].n_iter_ == 3


class Nested(Callback):
    """Fits another estimator on the same ranks, which are in use."""

    def on_fit_task_end(self, estimator, context) -> bool:
        MLPClassifier(**parameters).fit(X, y)
        return False


if parameters["n_jobs"]:
    try:
        MLPClassifier(**parameters).set_callbacks(Nested(fails=False)).fit(X, y)
    except RuntimeError as error:
        problem = str(error)
    assert "fit with n_jobs=1 here" in problem
print("right", flush=True)
