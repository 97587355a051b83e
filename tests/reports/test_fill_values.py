"""Numbers that are not finite, or become so, are named with row and feature, for each part and command."""

# reported as ayrna/skordinal 115 and chengtan9907/OpenSTL 137

import json

import numpy as np
import pytest
from jobs import needed, run
from scipy.sparse import csr_matrix
from sklearn.model_selection import train_test_split

from nnmpi import MLPClassifier, MLPRegressor, load, train
from nnmpi.errors import InputError, RunError

G = np.random.default_rng(1)
X = G.standard_normal((200, 4)) * [1, 1e-3, 1, 1]
Y = (X[:, 0] > 0).astype(int)
TRAINING, TEST = train_test_split(np.arange(200), test_size=0.2, random_state=42)
VALIDATION = train_test_split(TRAINING, test_size=0.1, random_state=42)[1]


def commands(tmp_path, nnmpi, ranks):
    def command(*arguments):
        if ranks == 1:
            return nnmpi(*arguments, cwd=tmp_path)
        return run(needed("openmpi").nnmpi(ranks, *arguments), tmp_path)

    return command


def assert_named(done, row, feature):
    assert done.status == 2
    assert f"row {row}, feature {feature} (both from 0) is " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("row", "number"),
    [
        (TRAINING[0], np.nan),
        (TRAINING[-1], -np.inf),
        (VALIDATION[3], np.inf),
        (VALIDATION[0], 9.96921e36),
        (TEST[0], np.nan),
        (TEST[-1], 1e300),
        (TEST[5], -3.4e38),
    ],
)
def test_training_names_it_in_each_part(nnmpi, tmp_path, row, number):
    x = X.copy()
    x[row, 1] = number
    np.savez(tmp_path / "d.npz", X=x, y=Y)
    done = nnmpi("train", "--data", "d.npz", "--early-stopping", "3", "--output", "m", cwd=tmp_path)
    assert_named(done, row, 1)
    assert not (tmp_path / "m").exists()


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_evaluate_and_predict_name_it(nnmpi, tmp_path, ranks):
    np.savez(tmp_path / "train.npz", X=X, y=Y)
    nnmpi("train", "--data", "train.npz", "--epochs", "2", "--output", "m", cwd=tmp_path).succeeded()
    command = commands(tmp_path, nnmpi, ranks)
    for row, feature, number in ((1, 1, 9.96921e36), (19, 3, np.nan), (10, 0, 1e308)):
        x = X[:20].copy()
        x[row, feature] = number
        np.savez(tmp_path / "new.npz", X=x, y=Y[:20])
        assert_named(command("predict", "m", "--data", "new.npz", "--out", "p.csv"), row, feature)
        assert_named(command("evaluate", "m", "--data", "new.npz"), row, feature)
    assert not (tmp_path / "p.csv").exists()


WIDE = G.standard_normal((200, 60))


# predict computes in float64, where the sums of float32 values are finite
@pytest.mark.parametrize(
    ("command", "dtype", "value"),
    [("evaluate", "float32", 2.5e38), ("evaluate", "float64", 1.2e308), ("predict", "float64", 1.2e308)],
)
def test_row_whose_output_is_not_finite_is_named(nnmpi, tmp_path, command, dtype, value):
    np.savez(tmp_path / "train.npz", X=WIDE, y=Y)
    nnmpi("train", "--data", "train.npz", "--epochs", "1", "--dtype", dtype, "--output", "m", cwd=tmp_path).succeeded()
    x = WIDE[:20].astype(np.float64)
    x[7] = value  # the value fits into the type, but the sums of the first layer do not
    np.savez(tmp_path / "new.npz", X=x, y=Y[:20])
    done = nnmpi(command, "m", "--data", "new.npz", cwd=tmp_path)
    assert done.status == 2
    assert "row 7 " in done.err


def test_learning_rate_is_not_blamed_for_a_fill_value(nnmpi, tmp_path):
    x = WIDE.copy()
    x[TEST[2]] = 2.5e38
    np.savez(tmp_path / "d.npz", X=x, y=Y)
    done = nnmpi("train", "--data", "d.npz", "--epochs", "2", "--output", "m", cwd=tmp_path)
    assert done.status == 2
    assert f"row {TEST[2]} (from 0), of the test part" in done.err
    assert "learning-rate" not in done.err


@pytest.mark.parametrize("part", ["test", "validation"])
def test_file_of_a_part_is_blamed(nnmpi, tmp_path, part):
    x = WIDE[:20].copy()
    x[7] = 2.5e38
    np.savez(tmp_path / "d.npz", X=WIDE, y=Y)
    np.savez(tmp_path / "own.npz", X=x, y=Y[:20])
    done = nnmpi("train", "d.npz", f"--{part}-data", "own.npz", "--epochs", "2", "--output", "m", cwd=tmp_path)
    assert done.status == 2
    assert done.messages[0].startswith(f"nnmpi: --{part}-data own.npz: row 7 (from 0), of the {part} part, makes")


def test_learning_rate_is_blamed_where_it_is_to_blame(nnmpi, tmp_path):
    np.savez(tmp_path / "d.npz", X=X, y=X[:, 0] * 1.5)
    flags = ("--learning-rate", "1e12", "--early-stopping", "5", "--output", "m")
    done = nnmpi("train", "--data", "d.npz", *flags, cwd=tmp_path)
    assert done.status == 1
    assert "lower --learning-rate" in done.err
    assert "; the best model so far, of epoch 0, is kept" in done.err
    for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_only_a_model_that_was_written_is_said_to_be_kept(tmp_path):
    settings = {"learning_rate": 1e12, "epochs": 3}
    with pytest.raises(RunError) as without_file:
        train(X, X[:, 0] * 1.5, **settings)
    with pytest.raises(RunError) as with_file:
        train(X, X[:, 0] * 1.5, output=tmp_path / "m", **settings)
    assert "kept" not in str(without_file.value)
    assert "; the last good model, of epoch 0, is kept" in str(with_file.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_target_that_is_not_finite_is_named(nnmpi, tmp_path, number, dtype):
    y = X[:, 0].astype(dtype)
    y[42] = number
    np.savez(tmp_path / "d.npz", X=X, y=y)
    done = nnmpi("train", "--data", "d.npz", "--output", "m", cwd=tmp_path)
    assert done.status == 2
    assert "row 42 " in done.err


def test_target_that_does_not_fit_when_standardized_is_named(nnmpi, tmp_path):
    y = X[:, 0].copy()
    np.savez(tmp_path / "d.npz", X=X, y=y)
    nnmpi("train", "--data", "d.npz", "--epochs", "1", "--output", "m", cwd=tmp_path).succeeded()
    y[7] = 1e300
    np.savez(tmp_path / "new.npz", X=X, y=y)
    done = nnmpi("evaluate", "m", "--data", "new.npz", cwd=tmp_path)
    assert done.status == 2
    assert "y of row 7 (from 0) is 1e+300" in done.err


FAR = np.where(np.arange(5)[:, None] == 3, 1.2e308, WIDE[:5])  # row 3 fits float64, the sums of the first layer do not


def test_network_from_a_file_names_the_row():
    model = train(WIDE, Y, hidden=(4,), epochs=1, dtype="float64").model
    for predict in (model.predict, model.predict_proba):
        with pytest.raises(ValueError, match=r"the output for X\[3\] is not finite in float64"):
            predict(FAR)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(("dtype", "value"), [("float32", 1e39), ("float64", 1.7e308)])
def test_estimators_name_the_row(estimator, dtype, value):
    three = Y + (WIDE[:, 1] > 0)  # one output of two classes would be 0 or 1 also if its sum overflows
    fitted = estimator(
        hidden_layer_sizes=(4,), max_iter=9, tol=1e9, n_iter_no_change=1, dtype=dtype, random_state=0
    ).fit(WIDE, three)
    x = np.where(np.arange(300)[:, None] == 270, value, np.tile(WIDE[:3], (100, 1)))
    for samples in (x, csr_matrix(x)):
        with pytest.raises(ValueError, match=rf"the output for X\[270\] is not finite in {dtype}"):
            fitted.predict(samples)
    assert np.isfinite(fitted.predict(x[:270])).all()


def test_predicted_number_beyond_float64_is_named(nnmpi, tmp_path):
    y = X[:, 0] * 1e307
    np.savez(tmp_path / "d.npz", X=X, y=y)
    flags = ("--epochs", "20", "--dtype", "float64", "--output", "m")
    nnmpi("train", "d.npz", *flags, cwd=tmp_path).succeeded()
    np.savez(tmp_path / "new.npz", X=np.where(np.arange(5)[:, None] == 2, 1e6, X[:5]))
    done = nnmpi("predict", "m", "new.npz", "--out", "p.csv", cwd=tmp_path)
    assert done.status == 2
    assert "the model's output for row 2 (counted from 0) is not finite" in done.err
    assert not (tmp_path / "p.csv").exists()
    with pytest.raises(ValueError, match=r"the output for X\[2\]"):
        load(tmp_path / "m").predict(np.load(tmp_path / "new.npz")["X"])


def test_validation_part_is_checked_without_an_epoch():
    x = WIDE.copy()
    x[VALIDATION[1]] = 2.5e38
    with pytest.raises(InputError, match=f"row {VALIDATION[1]} .*of the validation part"):
        train(x, Y, epochs=0, validation_fraction=0.1)


def test_what_exceeds_float64_after_scaling_is_named_without_a_warning(nnmpi, tmp_path):
    """A feature of the training hardly varies: the scaled value is inf also in the message."""
    np.savez(tmp_path / "d.npz", X=np.where(Y == 1, 1e-320, 0)[:, None], y=Y)
    np.savez(tmp_path / "new.npz", X=np.ones((2, 1)))
    nnmpi("train", "d.npz", "--epochs", "1", "--output", "m", cwd=tmp_path).succeeded()
    python = [needed("openmpi").program("python"), "-W", "error", "-m", "nnmpi"]
    done = run([*python, "predict", "m", "new.npz"], tmp_path)
    assert_named(done, 0, 0)
    assert "standardized inf" in done.err
