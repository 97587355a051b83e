"""R² equals scikit-learn's ``r2_score``, also for constant targets. For one sample it is undefined."""

# reported as scikit-learn/scikit-learn 16857

import json

import numpy as np
import pytest
from jobs import needed, run
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

import nnmpi

G = np.random.default_rng(5)
X = G.standard_normal((150, 4))
Y = X @ [3.0, -2.0, 1.0, 0.5] + 100
TRAIN = ("train", "--data", "d.npz", "--epochs", "5", "--output", "m")
TARGETS = {
    "150": np.full(40, 150.0),
    "0.1": np.full(40, 0.1),  # rounding makes its mean differ from 0.1
    "1e-30": np.full(40, 1e-30),
    "nearly constant": 100 + 1e-9 * np.arange(40),
    "small against the mean of the training": 1e-20 * np.arange(40),
    "usual": Y[:40],
    "two columns": None,
}


@pytest.mark.parametrize("name", TARGETS)
def test_r2_is_that_of_scikit_learn(nnmpi, tmp_path, name):
    y, y_new = Y, TARGETS[name]
    if y_new is None:
        y, y_new = np.column_stack([Y, -Y / 7]), np.column_stack([Y[:40], np.full(40, 0.3)])
    np.savez(tmp_path / "d.npz", X=X, y=y)
    nnmpi(*TRAIN, cwd=tmp_path).succeeded()
    np.savez(tmp_path / "new.npz", X=X[:40], y=y_new)
    out = nnmpi("evaluate", "m", "--data", "new.npz", cwd=tmp_path).succeeded().out
    nnmpi("predict", "m", "--data", "new.npz", "--out", "p.npz", cwd=tmp_path).succeeded()
    with np.load(tmp_path / "p.npz") as file:
        predicted = file["prediction"]
    columns = zip(y_new.reshape(40, -1).T, predicted.reshape(40, -1).T, strict=True)
    # by rounding, scikit-learn sees a variance in a constant such as 0.1
    expected = np.mean([0.0 if (a == a[0]).all() else r2_score(a, b) for a, b in columns])
    assert float(out.split("test r2 ")[1].split(",")[0]) == pytest.approx(expected, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("constant", [0.1, 1e20, -7.0])
def test_constant_that_is_met_exactly_has_r2_1(nnmpi, tmp_path, constant):
    np.savez(tmp_path / "d.npz", X=X, y=np.full(150, constant))
    flags = ("--learning-rate", "1e-9", "--l2", "0", "--task", "regression", "--hidden", "none", "--epochs", "0")
    nnmpi(*TRAIN[:3], *flags, "--output", "m", cwd=tmp_path).succeeded()
    np.savez(tmp_path / "new.npz", X=np.tile(X.mean(axis=0), (5, 1)) * 0, y=np.full(5, constant))
    done = nnmpi("evaluate", "m", "--data", "new.npz", cwd=tmp_path).succeeded()
    assert done.out.splitlines()[-1].startswith(("test r2 0.0000", "test r2 1.0000"))


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_r2_of_one_sample_is_undefined(nnmpi, tmp_path, ranks):
    np.savez(tmp_path / "d.npz", X=X[:60], y=Y[:60])
    command = (*TRAIN, "--test-fraction", "0.01")
    done = nnmpi(*command, cwd=tmp_path) if ranks == 1 else run(needed("openmpi").nnmpi(3, *command), tmp_path)
    last = done.succeeded().out.splitlines()[-1]
    assert last.startswith("test r2 undefined, test loss ")
    assert last.endswith("(R² is undefined for one sample)")
    for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)["test_r2"] is None


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 151)], ids=["", "weights"])
@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1e200, 1e300])
def test_metrics_of_numbers_whose_squares_leave_float64(unit, weights):
    y = np.column_stack([X @ [3.0, -2.0, 1.0, 0.5], X[:, 0]])
    trained = nnmpi.train(X, y * unit, sample_weight=weights, epochs=5, hidden=(8,))
    test = train_test_split(np.arange(150), test_size=0.2, random_state=42)[1]
    true, predicted = y[test], trained.model.predict(X[test]) / unit
    options = {} if weights is None else {"sample_weight": weights[test]}
    scores = trained.all_scores["test"]
    assert scores["r2"] == pytest.approx(r2_score(true, predicted, **options), rel=1e-5)
    assert trained.scores.r2 == pytest.approx(scores["r2"], rel=1e-9)
    for name, metric in (("mae", mean_absolute_error), ("rmse", root_mean_squared_error)):
        assert scores[name] / unit == pytest.approx(metric(true, predicted, **options), rel=1e-5)
    median = median_absolute_error(true, predicted, **options)
    assert scores["median_absolute_error"] / unit == pytest.approx(median, rel=1e-5)
