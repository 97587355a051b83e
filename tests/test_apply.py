"""The commands ``evaluate``, ``predict`` and ``info``."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, Environment, Run, needed, run
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split

Train = Callable[..., Run]

TRAINED = {
    "classes": ("--data", "digits", "--epochs", "2"),
    "binary": ("--data", "breast_cancer", "--epochs", "3", "--loss", "binary-cross-entropy"),
    "numbers": ("--data", "diabetes", "--epochs", "5"),
    "stratified": ("--data", "iris", "--epochs", "5", "--stratify", "--test-fraction", "0.3", "--seed", "3"),
    "stopped": ("--data", "iris", "--epochs", "50", "--early-stopping", "1", "--learning-rate", "0.5"),
    "augmented": ("--data", "digits", "--epochs", "1", "--augment", "shift", "--dropout", "0.2"),
}


def rows_of_test_part(x: np.ndarray) -> np.ndarray:
    """Return the rows of the test part with the default flags of ``train``."""
    return np.asarray(train_test_split(np.arange(len(x)), test_size=0.2, random_state=42)[1])


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name == "classes" else pytest.mark.slow) for name in TRAINED]
)
def test_evaluate_repeats_the_scores_of_training(train: Train, nnmpi: CommandServer, case: str) -> None:
    trained = train(*TRAINED[case])
    for model in (trained.directory, trained.directory / "model.safetensors"):
        assert nnmpi("evaluate", str(model)).succeeded().out.splitlines()[-1] == trained.last_line


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("case", ["classes", "numbers"])
@pytest.mark.in_turn
def test_evaluate_repeats_the_scores_on_three_ranks(train: Train, mpi: Environment, case: str, tmp_path: Path) -> None:
    trained = train(*TRAINED[case])
    done = run(mpi.nnmpi(3, "evaluate", str(trained.directory)), tmp_path).succeeded()
    assert done.out.splitlines()[-1] == trained.last_line
    assert done.out.count("test ") == 3  # "the test part", "test accuracy", "test loss": only rank 0 prints


def test_evaluate_on_all_of_other_data(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    trained = train(*TRAINED["classes"])
    x, y = load_digits(return_X_y=True)
    np.savez(tmp_path / "some.npz", X=x[:300], y=y[:300])
    evaluated = nnmpi("evaluate", str(trained.directory), "--data", "some.npz", cwd=tmp_path).succeeded()
    predicted = nnmpi("predict", str(trained.directory), "--data", "some.npz", cwd=tmp_path).succeeded()
    accuracy = accuracy_score(y[:300], [int(line) for line in predicted.out.split()])
    assert evaluated.out.splitlines()[-1].startswith(f"test accuracy {accuracy:.4f}, ")
    assert evaluated.out.startswith("300 samples")


def predict(nnmpi: CommandServer, run: Run, directory: Path, data: str) -> dict[str, np.ndarray]:
    nnmpi("predict", str(run.directory), "--data", data, "--out", "out.npz", cwd=directory).succeeded()
    with np.load(directory / "out.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.slow
def test_screen_csv_and_npz_agree(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    trained = train(*TRAINED["classes"])
    table = predict(nnmpi, trained, tmp_path, "digits")
    command = ("predict", str(trained.directory), "--data", "digits")
    screen = nnmpi(*command, cwd=tmp_path).succeeded().out.splitlines()
    nnmpi(*command, "--out", "out.csv", cwd=tmp_path).succeeded()
    header, *rows = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert header == ["prediction", *(f"probability_{i}" for i in range(10))]
    assert table["prediction"].tolist() == [int(line) for line in screen] == [int(row[0]) for row in rows]
    np.testing.assert_allclose(np.array(rows, float)[:, 1:], table["probability"], rtol=1e-6)
    np.testing.assert_allclose(table["probability"].sum(axis=1), 1, rtol=1e-5)
    assert (table["classes"][table["probability"].argmax(axis=1)] == table["prediction"]).all()


def test_predictions_score_as_training_said(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    trained = train(*TRAINED["classes"])
    x, y = load_digits(return_X_y=True)
    test = rows_of_test_part(x)
    table = predict(nnmpi, trained, tmp_path, "digits")
    assert accuracy_score(y[test], table["prediction"][test]) == trained.metrics[-1]["test_accuracy"]


def test_regression_predicts_in_the_units_of_the_targets(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    trained = train(*TRAINED["numbers"])
    x, y = load_diabetes(return_X_y=True)
    test = rows_of_test_part(x)
    predicted = predict(nnmpi, trained, tmp_path, "diabetes")["prediction"]
    assert r2_score(y[test], predicted[test]) == pytest.approx(trained.metrics[-1]["test_r2"], abs=1e-5)
    assert trained.last_line.startswith(f"test r2 {trained.metrics[-1]['test_r2']:.4f}, ")
    assert trained.metrics[-1]["test_r2"] > 0.2


def test_binary_has_two_probabilities(train: Train, nnmpi: CommandServer, tmp_path: Path) -> None:
    trained = train(*TRAINED["binary"])
    x, y = load_breast_cancer(return_X_y=True)
    table = predict(nnmpi, trained, tmp_path, "breast_cancer")
    assert table["probability"].shape == (len(x), 2)
    assert (table["prediction"] == (table["probability"][:, 1] > 0.5)).all()
    test = rows_of_test_part(x)
    assert accuracy_score(y[test], table["prediction"][test]) == trained.metrics[-1]["test_accuracy"]


def test_classes_may_be_strings(nnmpi: CommandServer, tmp_path: Path) -> None:
    iris = load_iris()
    np.savez(tmp_path / "flowers.npz", X=iris.data, y=iris.target_names[iris.target])
    np.savez(tmp_path / "unknown.npz", X=iris.data)
    nnmpi("train", "--data", "flowers.npz", "--epochs", "30", "--output", "run", cwd=tmp_path).succeeded()
    predicted = nnmpi("predict", "run", "--data", "unknown.npz", cwd=tmp_path).succeeded().out.split()
    assert set(predicted) == {"setosa", "versicolor", "virginica"}
    assert accuracy_score(iris.target_names[iris.target], predicted) > 0.9
    nnmpi("evaluate", "run", "--data", "flowers.npz", cwd=tmp_path).succeeded()


@pytest.mark.mpi
@pytest.mark.slow
def test_predictions_keep_the_order_on_three_ranks(
    train: Train, nnmpi: CommandServer, mpi: Environment, tmp_path: Path
) -> None:
    trained = train(*TRAINED["classes"])
    on_one_rank = predict(nnmpi, trained, tmp_path, "digits")
    command = ("predict", str(trained.directory), "--data", "digits", "--out", "three.npz")
    done = run(mpi.nnmpi(3, *command), tmp_path).succeeded()
    assert done.out == "1797 predictions written to three.npz\n"
    with np.load(tmp_path / "three.npz") as three:
        np.testing.assert_array_equal(three["prediction"], on_one_rank["prediction"])
        np.testing.assert_allclose(three["probability"], on_one_rank["probability"], atol=1e-5)


def test_info_at_one_rank(nnmpi: CommandServer) -> None:
    out = nnmpi("info").succeeded().out
    assert "not started by a launcher" in out
    for name in ("MPI library", "world size", "hosts", "BLAS threads", "fault tolerance"):
        assert name in out


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("name", "library"), [("openmpi", "Open MPI v"), pytest.param("mpich", "MPICH", marks=pytest.mark.slow)]
)
def test_info_at_two_ranks(name: str, library: str, tmp_path: Path) -> None:
    done = run(needed(name).nnmpi(2, "info"), tmp_path)
    assert done.status in (0, 1), done.err  # 1: it found a problem
    out = done.out
    facts = {line[2:18].strip(): line[18:] for line in out.splitlines() if line.startswith("  ")}
    assert facts["MPI library"].startswith(library)
    assert facts["world size"] == "2"
    assert "2 processes" in facts["launcher"]
    assert "(2 ranks)" in facts["hosts"]
    assert out.startswith(("problem ", "note "))  # the findings come first
    assert int(facts["BLAS threads"].split()[0]) >= 1
