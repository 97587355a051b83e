"""scikit-learn's callbacks in fits of `MLPClassifier` and `MLPRegressor`; on ranks: mpi/test_estimators_on_ranks.py."""

import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ranks import on_ranks
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnmpi import MLPClassifier, MLPRegressor
from nnmpi.mpi.world import World
from nnmpi.nn.architecture import Architecture
from nnmpi.training import fit_callbacks
from nnmpi.training.fit_state import FitState

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")

X, y = load_digits(return_X_y=True)
X, y = X[:300] / 16, y[:300]
NUMBERS = X[:, [10, 20]]
WEIGHTS = np.random.default_rng(0).uniform(size=300)
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0, "learning_rate_init": 0.01}


class Recorder:
    """Notes the hooks, and acts in one of them."""

    def __init__(self, at: str = "", epoch: int | None = None, action: Any = None) -> None:
        self.hooks: list[tuple[Any, ...]] = []
        self.fitted: list[Any] = []
        self.contexts: list[Any] = []
        self.at, self.action = (at, epoch), action

    def setup(self, estimator: Any, context: Any) -> None:
        self.note("setup", context)

    def teardown(self, estimator: Any, context: Any) -> None:
        self.note("teardown", context)

    def on_fit_task_begin(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        self.note("begin", context)

    def on_fit_task_end(self, estimator: Any, context: Any, *, X: Any, y: Any, fitted_estimator: Any = None) -> Any:
        self.fitted.append(fitted_estimator)
        return self.note("end", context)

    def note(self, hook: str, context: Any) -> Any:
        epoch = context.task_id if context.task_name == "epoch" else None
        self.hooks.append((hook, epoch))
        self.contexts.append(context)
        if (hook, epoch) == self.at:
            if self.action is not True:
                raise self.action
            return True
        return None


def hooks(epochs: int) -> list[tuple[str, int | None]]:
    of_epochs: list[tuple[str, int | None]] = [(hook, i) for i in range(epochs) for hook in ("begin", "end")]
    return [("setup", None), ("begin", None), *of_epochs, ("end", None), ("teardown", None)]


def scores_of(monitor: Any, name: str) -> list[float]:
    """The scores of the epochs, then that of the fit."""
    first, *rest = monitor.get_logs().data
    assert [row["task_id"] for row in rest] == list(range(len(rest)))
    return [*(row[name] for row in rest), first[name]]


def no_traces(estimator: Any) -> bool:
    return not any("callback" in name for name in vars(estimator).keys() - {"_skl_callbacks"})


@pytest.mark.parametrize(
    "parameters",
    [{}, {"solver": "sgd", "tol": 9.0, "n_iter_no_change": 1}, {"early_stopping": True, "n_iter_no_change": 2}],
)
@pytest.mark.parametrize(("kind", "targets"), [(MLPClassifier, y), (MLPRegressor, NUMBERS)])
def test_the_estimator_is_scored_as_after_each_epoch(kind: Any, targets: Any, parameters: dict[str, Any]) -> None:
    name = "accuracy" if kind is MLPClassifier else "r2"
    monitor, recorder = callback.ScoringMonitor(scoring=name), Recorder()
    frame = pd.DataFrame(X).add_prefix("pixel ")
    estimator = kind(**{**SMALL, **parameters}).set_callbacks(monitor, recorder).fit(frame, targets, WEIGHTS)
    fits = [
        kind(**{**SMALL, **parameters, "max_iter": epochs}).fit(frame, targets, WEIGHTS)
        for epochs in range(1, estimator.n_iter_ + 1)
    ]
    expected = [fit.score(frame, targets, WEIGHTS) for fit in fits]
    assert scores_of(monitor, name) == [*expected, expected[-1]]
    np.testing.assert_array_equal(estimator.coefs_[0], fits[-1].coefs_[0])
    assert [fitted.loss_curve_ for fitted in recorder.fitted] == [fit.loss_curve_ for fit in [*fits, estimator]]
    assert recorder.hooks == hooks(estimator.n_iter_)
    assert no_traces(estimator)
    root = recorder.contexts[0]
    assert [(c.task_name, c.max_subtasks) for c in root] == [("fit", 4)] + [("epoch", 0)] * estimator.n_iter_


def test_a_callback_ends_the_fit() -> None:
    recorder = Recorder("end", 1, True)
    estimator = MLPClassifier(**SMALL).set_callbacks(recorder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.fit(X, y)
    assert recorder.hooks == hooks(2)
    np.testing.assert_array_equal(estimator.coefs_[0], MLPClassifier(**{**SMALL, "max_iter": 2}).fit(X, y).coefs_[0])


def test_ctrl_c_ends_all_tasks() -> None:
    recorder = Recorder("begin", 2, KeyboardInterrupt())
    with pytest.warns(UserWarning, match="interrupted by user"):
        estimator = MLPClassifier(**SMALL).set_callbacks(recorder).fit(X, y)
    assert recorder.hooks == hooks(3)
    assert estimator.n_iter_ == 2


@pytest.mark.parametrize(
    ("at", "epoch"),
    [("setup", None), ("begin", None), ("begin", 0), ("end", 0), ("begin", 2), ("end", None), ("teardown", None)],
)
def test_an_error_in_a_callback_ends_the_fit(at: str, epoch: int | None) -> None:
    recorder = Recorder(at, epoch, KeyError("mistake"))
    estimator = MLPClassifier(**SMALL).set_callbacks(recorder)
    with pytest.raises(KeyError, match="mistake"):
        estimator.fit(X, y)
    assert [hook for hook, _ in recorder.hooks].count("teardown") == 1
    assert no_traces(estimator)


def test_weights_that_are_not_finite_are_not_scored() -> None:
    estimator = MLPRegressor(**{**SMALL, "solver": "sgd", "learning_rate_init": 1e200})
    estimator.set_callbacks(callback.ScoringMonitor(scoring="r2"))
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        estimator.fit(X, NUMBERS)


def test_clones_and_partial_fit() -> None:
    recorder = Recorder()
    estimator = clone(MLPClassifier(**SMALL).set_callbacks(recorder))
    estimator.partial_fit(X, y, classes=range(10))
    assert recorder.hooks == []
    assert estimator.fit(X, y)._skl_callbacks == [recorder]
    assert recorder.hooks == hooks(4)
    assert pickle.loads(pickle.dumps(estimator.set_callbacks(callback.ScoringMonitor(scoring=None)))).score(X, y) > 0
    estimator.set_callbacks().fit(X, y)
    assert recorder.hooks == hooks(4)


def test_in_a_pipeline_and_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    monitor, outer = callback.ScoringMonitor(scoring="accuracy"), Recorder()
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL).set_callbacks(monitor))
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 0.1]}, cv=2)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None), outer).fit(X, y)
    log = monitor.get_logs()
    assert log.estimator_name == "GridSearchCV"
    assert len(log.data) == 5 * (1 + 4)
    names = [c.estimator_name for c in outer.contexts[0] if c.task_name == "fit"]
    assert names.count("MLPClassifier") == 5  # also for callbacks that see only the outer estimator
    assert "MLPClassifier - fit" in capsys.readouterr().out
    outer = Recorder()
    make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).set_callbacks(outer).fit(X, y)
    assert [c.estimator_name for c in outer.contexts[0]] == ["Pipeline", "StandardScaler", "MLPClassifier"]


def run_epochs(world: World, callbacks: list[Any]) -> FitState:
    """What a fit calls on a rank, without the training."""
    architecture = Architecture((2, 1), "relu", "identity", "mse", "float64")
    state = FitState(architecture, np.zeros(architecture.parameters))
    estimator = MLPRegressor(max_iter=4).set_callbacks(*callbacks)
    with fit_callbacks.callbacks_called(estimator, state, world, [[0]], [0], None, False) as functions:
        while state.n_iter < 4 and not state.end:
            state.n_iter += 1
            for function in functions:
                function(state)
    assert estimator.__dict__.get("_skl_callbacks", []) == callbacks
    return state


@pytest.mark.parametrize(("at", "epoch"), [("setup", None), ("begin", 2), ("end", 0), ("teardown", None)])
def test_an_error_on_one_rank_is_an_error_on_all(at: str, epoch: int | None) -> None:
    def work(world: World) -> None:
        callbacks = [Recorder(at, epoch, KeyError("mistake"))] if world.rank else []
        with pytest.raises(KeyError if world.rank else ValueError, match=r"'mistake'( \(on rank 1 of 2\))?$"):
            run_epochs(world, callbacks)

    on_ranks(2, work)


def test_one_rank_ends_the_fit_on_all() -> None:
    recorders = [Recorder(), Recorder("end", 1, True)]
    states = on_ranks(2, lambda world: run_epochs(world, [recorders[world.rank]]))
    assert [state.n_iter for state in states] == [2, 2]
    assert [recorder.hooks for recorder in recorders] == [hooks(2)] * 2


def test_only_the_first_rank_shows_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bar(Recorder):
        pass

    monkeypatch.setattr(fit_callbacks, "ProgressBar", Bar)
    recorders = [[Bar(), Recorder()], [Bar(), Recorder()]]
    on_ranks(2, lambda world: run_epochs(world, list(recorders[world.rank])))
    assert [[recorder.hooks for recorder in of_rank] for of_rank in recorders] == [[hooks(4)] * 2, [[], hooks(4)]]


@pytest.mark.slow
def test_without_scikit_learns_callbacks_everything_else_works() -> None:
    script = (
        "import sys, warnings, sklearn.model_selection, sklearn.preprocessing; warnings.simplefilter('ignore')\n"
        "callback = sys.modules['sklearn.callback']; sys.modules['sklearn.callback'] = None\n"
        "from nnmpi import MLPClassifier; sys.modules['sklearn.callback'] = callback\n"
        "clf = MLPClassifier(max_iter=2).fit([[0.0], [1.0]], [0, 1])\n"
        "print(clf.n_iter_, hasattr(clf, 'set_callbacks'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
