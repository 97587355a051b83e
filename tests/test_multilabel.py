"""Multilabel targets: columns of 0 and 1, each with its own sigmoid."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import CommandServer, Run
from sklearn.metrics import accuracy_score, f1_score, hamming_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import nnmpi as package
from nnmpi.config import Config
from nnmpi.data.sources import Columns, open_source
from nnmpi.data.sources.arrays import arrays
from nnmpi.data.targets import targets_of
from nnmpi.errors import InputError
from nnmpi.training.metrics import METRICS, larger_is_better

X = np.random.default_rng(1).normal(size=(240, 8))
Y = (X @ np.random.default_rng(2).normal(size=(8, 3)) > 0.5).astype(int)
NAMES = ["rain", "snow, heavy", "wind"]
SMALL: dict[str, Any] = {"hidden": (6,), "epochs": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("labels")
    np.savez(directory / "labels.npz", X=X, y=Y)
    np.savez(directory / "numbers.npz", X=X, y=Y * [1.0, 2.5, -3.0] + X[:, :3])
    with open(directory / "table.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(8)), *NAMES])
        writer.writerows(np.hstack([X, Y]).tolist())
    return directory


@pytest.fixture(scope="module")
def run(nnmpi: CommandServer, files: Path) -> Run:
    """A run that is stopped early by the F1 of the labels."""
    flags = ("--hidden", "6", "--epochs", "30", "--learning-rate", "0.1", "--early-stopping", "2")
    monitor = ("--monitor", "validation_f1_macro", "--checkpoint-every", "1epochs")
    directory = files / "run"
    done = nnmpi("train", str(files / "labels.npz"), *flags, *monitor, "--output", str(directory))
    return Run(done.succeeded(), directory)


def held_out() -> tuple[np.ndarray, np.ndarray]:
    rows = train_test_split(np.arange(len(X)), test_size=0.2, random_state=42)[1]
    return X[rows], Y[rows]


def test_a_step_is_scikit_learns() -> None:
    """One full-batch step from the same weights gives the same weights and loss. Losses are summed over the labels."""
    settings: dict[str, Any] = {"hidden": (6,), "batch_size": "full", "dtype": "float64"}
    settings |= {"momentum": 0.0, "nesterov": False, "lr_schedule": "constant", "learning_rate": 0.3}
    start, end = (package.train(X, Y, epochs=epochs, **settings) for epochs in (0, 1))
    x, _, y, _ = train_test_split(X, Y, test_size=0.2, random_state=42)
    x = StandardScaler().fit_transform(x)
    mlp = MLPClassifier(
        6, solver="sgd", learning_rate_init=0.3, momentum=0, nesterovs_momentum=False, alpha=0, batch_size=len(x)
    ).partial_fit(x, y, classes=[0, 1, 2])
    layers = start.model.architecture.views(start.model.parameters)
    for weights, biases, layer in zip(mlp.coefs_, mlp.intercepts_, layers, strict=True):
        weights[:], biases[:] = layer[1:], layer[0]
    mlp.partial_fit(x, y)
    for weights, biases, layer in zip(
        mlp.coefs_, mlp.intercepts_, end.model.architecture.views(end.model.parameters), strict=True
    ):
        np.testing.assert_allclose(layer, np.vstack([biases, weights]), rtol=1e-10, atol=1e-13)
    assert end.metrics[0]["train_loss"] == pytest.approx(mlp.loss_, rel=1e-10)
    probabilities = end.model.predict_proba(X)
    assert probabilities.shape == (240, 3)
    np.testing.assert_array_equal(end.model.predict(X), probabilities > 0.5)


@pytest.mark.parametrize("y", [Y, Y.astype(bool), Y.astype(np.float32), Y.astype(np.uint8), Y.tolist()])
def test_all_number_types_mean_the_same(y: Any) -> None:
    result = package.train(X, y, **SMALL)
    assert result.model.architecture.loss == "binary-cross-entropy"
    assert result.model.labels == ("0", "1", "2")
    assert result.model.classes is None
    np.testing.assert_array_equal(result.model.parameters, package.train(X, Y, **SMALL).model.parameters)


def test_the_way_back_is_a_regression() -> None:
    result = package.train(X, Y, task="regression", **SMALL)
    assert result.model.architecture.loss == "mse"
    assert "r2" in result.all_scores["test"]


def test_a_column_stays_a_classification() -> None:
    assert package.train(X, Y[:, :1], **SMALL).model.classes is not None


def test_scores_are_scikit_learns(nnmpi: CommandServer, run: Run) -> None:
    x, y = held_out()
    predicted = package.load(run.directory).predict(x)
    table = json.loads(nnmpi("evaluate", str(run.directory), "--json").succeeded().out)
    assert table["accuracy"] == pytest.approx(accuracy_score(y, predicted), rel=1e-12)
    assert table["hamming_loss"] == pytest.approx(hamming_loss(y, predicted), rel=1e-12)
    assert table["f1_macro"] == pytest.approx(f1_score(y, predicted, average="macro"), rel=1e-12)
    assert [row["label"] for row in table["labels"]] == ["0", "1", "2"]
    assert [row["samples"] for row in table["labels"]] == y.sum(axis=0).tolist()
    shown = nnmpi("evaluate", str(run.directory)).succeeded().out
    assert "Hamming loss" in shown
    assert shown.splitlines()[-1] == f"test accuracy {table['accuracy']:.4f}, test loss {table['loss']:.4f}"
    assert json.loads((run.directory / "config.json").read_text())["scores"]["test"]["labels"] == table["labels"]


def test_early_stopping_watches_the_labels(run: Run) -> None:
    f1_scores = [metrics["validation_f1_macro"] for metrics in run.metrics]
    assert len(f1_scores) < 30
    assert int(np.argmax(f1_scores)) == len(f1_scores) - 3
    assert "best      validation f1 macro" in run.done.out
    assert run.done.out.splitlines()[0].startswith("target y: 3 labels (columns of 0 and 1")


@pytest.mark.parametrize("labels", [("--target", "rain,wind"), ()])
def test_predictions_have_names(nnmpi: CommandServer, files: Path, run: Run, tmp_path: Path, labels: Any) -> None:
    directory, data = run.directory, files / "labels.npz"
    names = ["0", "1", "2"]
    if labels:
        directory, data, names = tmp_path / "run", files / "table.csv", ["rain", "wind"]
        nnmpi("train", str(data), *labels, "--epochs", "1", "--output", str(directory)).succeeded()
    out = tmp_path / "out.csv"
    nnmpi("predict", str(directory), str(data), "--out", str(out)).succeeded()
    header, *rows = csv.reader(out.read_text().splitlines())
    assert header == [f"{kind}_{name}" for kind in ("prediction", "probability") for name in names]
    values = np.array(rows, float)
    np.testing.assert_array_equal(values[:, : len(names)], values[:, len(names) :] > 0.5)
    nnmpi("predict", str(directory), "--part", "test", "--out", str(tmp_path / "out.npz")).succeeded()
    with np.load(tmp_path / "out.npz") as arrays:
        rows_of_part = arrays["row"]
        np.testing.assert_array_equal(arrays["prediction"], values[rows_of_part, : len(names)])
        np.testing.assert_allclose(arrays["probability"], values[rows_of_part, len(names) :], rtol=1e-5)
        assert arrays["labels"].tolist() == names
    shown = nnmpi("predict", str(directory), str(data)).succeeded().out.splitlines()
    assert shown == [" ".join(map(str, row)) for row in values[:, : len(names)].astype(int).tolist()]


def test_a_run_that_is_resumed_ends_with_the_same_bits(nnmpi: CommandServer, files: Path, tmp_path: Path) -> None:
    for name, epochs, resume in (("whole", "2", ()), ("halves", "1", ()), ("halves", "2", ("--resume",))):
        flags = ("--hidden", "6", "--epochs", epochs, "--output", str(tmp_path / name))
        nnmpi("train", str(files / "labels.npz"), *flags, *resume).succeeded()
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "halves")]
    assert models[0] == models[1]


def test_trials(nnmpi: CommandServer, files: Path) -> None:
    data = str(files / "labels.npz")
    assert "3 labels" in nnmpi("train", data, "--dry-run").succeeded().out
    assert "learning rate" in nnmpi("lr-find", data, "--batch-size", "8").succeeded().out


def test_runs_are_compared(nnmpi: CommandServer, run: Run) -> None:
    rows = json.loads(nnmpi("compare", str(run.directory), "--sort", "test_hamming_loss", "--json").succeeded().out)
    assert "test_hamming_loss" in json.dumps(rows)
    better = {name: larger_is_better(name) for name in METRICS["multilabel"]}
    assert {name for name, larger in better.items() if not larger} == {"hamming_loss", "log_loss"}


def test_booleans_of_a_table_are_labels_however_few(files: Path) -> None:
    path = files / "booleans.csv"
    path.write_text("x,a,b\n1,true,false\n2,false,false\n3,true,true\n")
    targets, loss, reason = targets_of(open_source(str(path), columns=Columns(target=("b", "a"))), "auto")
    assert (targets.task, targets.labels, loss) == ("multilabel", ("b", "a"), "binary-cross-entropy")
    assert reason.startswith("target y: 2 labels (booleans;")


def test_columns_with_one_1_a_row_may_be_classes() -> None:
    one_hot = np.eye(3)[np.arange(12) % 3]
    reasons = [targets_of(arrays(X[:12], y), "auto")[2] for y in (one_hot, 1 - one_hot)]
    assert ["exactly one 1 in each row" in reason for reason in reasons] == [True, False]


@pytest.mark.slow
def test_several_numbers_still_work_everywhere(nnmpi: CommandServer, files: Path, tmp_path: Path) -> None:
    data, directory = str(files / "table.csv"), tmp_path / "run"
    nnmpi("train", data, "--target", "x0,x1", "--epochs", "2", "--output", str(directory)).succeeded()
    table = json.loads(nnmpi("evaluate", str(directory), "--json").succeeded().out)
    assert table["r2"] is not None
    for out in ("out.csv", "out.npz"):
        nnmpi("predict", str(directory), data, "--out", str(tmp_path / out)).succeeded()
    header, *rows = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert header == ["prediction_x0", "prediction_x1"]
    stored = np.load(tmp_path / "out.npz")
    assert stored["targets"].tolist() == ["x0", "x1"]
    assert np.array_equal(np.array(rows, float), stored["prediction"])
    assert stored["prediction"].shape == (240, 2)


@pytest.mark.parametrize("outputs", [1, 3])
def test_numbers_of_an_array_have_no_names(nnmpi: CommandServer, tmp_path: Path, outputs: int) -> None:
    data, directory = str(tmp_path / "data.npz"), tmp_path / "run"
    np.savez(data, X=X, y=X[:, :outputs] * 1.5)
    nnmpi("train", data, "--epochs", "0", "--output", str(directory)).succeeded()
    for out in ("out.csv", "out.npz"):
        nnmpi("predict", str(directory), data, "--out", str(tmp_path / out)).succeeded()
    header = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert header == ("prediction" if outputs == 1 else "prediction_0,prediction_1,prediction_2")
    assert list(np.load(tmp_path / "out.npz")) == ["prediction"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_a_report_shows_each_label(nnmpi: CommandServer, files: Path, run: Run, tmp_path: Path, kind: str) -> None:
    directory = run.directory
    if kind == "numbers":
        directory = tmp_path / "run"
        nnmpi("train", str(files / "numbers.npz"), "--epochs", "2", "--output", str(directory)).succeeded()
    page = tmp_path / "page.html"
    nnmpi("report", str(directory), "--out", str(page), timeout=240).succeeded()
    text = page.read_text("utf-8")
    table = json.loads(nnmpi("evaluate", str(directory), "--json").succeeded().out)
    if kind == "numbers":
        assert f"{table['r2']:.4f}" in text
        return
    for row in table["labels"]:
        names = ("precision", "recall", "f1", "roc_auc", "average_precision")
        cells = "".join(f'<td class="number">{row[name]:.4f}</td>' for name in names)
        assert f'<tr><td>{row["label"]}</td>{cells}<td class="number">{row["samples"]}</td></tr>' in text
    assert f"{table['hamming_loss']:.4f}" in text
    assert text.count("<svg") >= 3
    assert "Confusion matrix" not in text


BAD = {
    "NaN": (np.where(Y == 0, np.nan, 1.0), {}, r"y of row 0 \(from 0\) is .*nan"),
    "a 2": (np.where(np.arange(240)[:, None] == 7, 2, Y), {"task": "multilabel"}, "holds 2 in row 7, column 0"),
    "a half": (Y * 0.5, {"loss": "binary-cross-entropy"}, "holds 0.5 in row .* task regression without loss"),
    "one column": (Y[:, 0], {"task": "multilabel"}, "needs two or more columns .* task classification"),
    "strings": (Y[:, 0].astype(str), {"task": "multilabel"}, "needs two or more columns"),
    "class weights": (Y, {"class_weight": "balanced"}, "class_weight balanced is for classes"),
    "stratify": (Y, {"stratify": True}, "stratify keeps the shares of classes, .* multilabel targets: leave it out"),
    "softmax": (Y, {"output_activation": "softmax"}, "softmax does not go with the loss binary-cross-entropy"),
    "classes": (Y, {"task": "classification"}, "task multilabel for columns of 0 and 1"),
    "monitor": (Y, {"monitor": "validation_r2", "early_stopping": 1}, "allowed are .*hamming_loss"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_gets_one_line(case: tuple[Any, dict[str, Any], str]) -> None:
    y, settings, message = case
    with pytest.raises(InputError, match=message) as caught:
        package.train(X, y, **SMALL, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_other_losses_are_refused(loss: str) -> None:
    with pytest.raises(InputError, match="cannot be combined with --task multilabel; allowed are auto, binary-cross"):
        Config(task="multilabel", loss=loss)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y * 3, "y of .* holds 3 for the label . in row"),
        (np.where(Y == 1, np.nan, 0), "holds nan for the label"),
        (Y[:, :2], "predicts 3 labels per sample"),
        (Y[:, 0], "predicts 3 labels per sample"),
    ],
)
def test_other_targets_than_the_labels_are_refused(
    nnmpi: CommandServer, run: Run, tmp_path: Path, y: Any, message: str
) -> None:
    np.savez(tmp_path / "other.npz", X=X, y=y)
    done = nnmpi("evaluate", str(run.directory), str(tmp_path / "other.npz"))
    assert done.status == 2
    (line,) = done.messages
    assert re.search(message, line)
