"""Parts: validation without early stopping, separate data for validation and test, predictions for one part."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, Run
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.metrics import f1_score, mean_absolute_error, roc_auc_score
from sklearn.model_selection import train_test_split

import nnmpi
from nnmpi.data.parts import split
from nnmpi.data.sources import open_source
from nnmpi.errors import InputError

Train = Callable[..., Run]
X, Y = load_breast_cancer(return_X_y=True)
ROWS = np.arange(len(X))


def parts_of(seed: int = 42) -> dict[str, np.ndarray]:
    training, test = train_test_split(ROWS, test_size=0.2, random_state=seed)
    training, validation = train_test_split(training, test_size=0.25, random_state=seed)
    return {"training": training, "validation": validation, "test": test}


def test_a_validation_part_works_without_early_stopping(train: Train) -> None:
    run = train("--data", "breast_cancer", "--validation-fraction", "0.25", "--epochs", "3")
    assert run.config["samples"] == {"training": 341, "validation": 114, "test": 114}
    assert all("validation_loss" in metrics for metrics in run.metrics)
    assert set(run.config["scores"]) == {"test", "validation"}
    # the network of the last epoch is kept, even if an earlier one was better
    assert run.config["scores"]["validation"]["loss"] == run.metrics[-1]["validation_loss"]


def test_early_stopping_takes_a_tenth_by_itself(train: Train) -> None:
    run = train("--data", "breast_cancer", "--early-stopping", "2", "--epochs", "1")
    assert run.config["settings"]["validation_fraction"] == 0.1
    assert run.config["samples"]["validation"] == 46


@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_predictions_of_a_part_are_of_its_rows(
    train: Train,
    nnmpi: CommandServer,
    tmp_path: Path,
    part: str,
) -> None:
    run = train("--data", "breast_cancer", "--validation-fraction", "0.25", "--epochs", "3")
    all_path, part_path = tmp_path / "whole.npz", tmp_path / "some.csv"
    nnmpi("predict", str(run.directory), "breast_cancer", "--out", str(all_path)).succeeded()
    nnmpi("predict", str(run.directory), "--part", part, "--out", str(part_path)).succeeded()
    lines = list(csv.DictReader(part_path.read_text().splitlines()))
    rows = [int(line["row"]) for line in lines]
    assert rows == parts_of()[part].tolist()
    assert [int(line["prediction"]) for line in lines] == np.load(all_path)["prediction"][rows].tolist()
    np.testing.assert_allclose(
        [float(line["probability_1"]) for line in lines], np.load(all_path)["probability"][rows, 1], rtol=1e-5
    )


def test_a_part_that_the_run_had_not_is_refused(train: Train, nnmpi: CommandServer) -> None:
    run = train("--data", "iris", "--epochs", "1")
    done = nnmpi("predict", str(run.directory), "--part", "validation")
    assert done.status == 2
    assert done.err.strip() == "nnmpi: --part validation: the run had no validation part; allowed are test, training"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One file for each part of the data."""
    paths = {}
    for name, rows in parts_of().items():
        paths[name] = tmp_path / f"{name}.npz"
        np.savez(paths[name], X=X[rows], y=Y[rows])
    return paths


def test_parts_from_files_of_their_own(nnmpi: CommandServer, files: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    flags = "--validation-data", str(files["validation"]), "--test-data", str(files["test"])
    trained = nnmpi("train", str(files["training"]), *flags, "--epochs", "3", "--output", str(output)).succeeded()
    config = json.loads((output / "config.json").read_text())
    assert config["samples"] == {"training": 341, "validation": 114, "test": 114}
    evaluated = nnmpi("evaluate", str(output)).succeeded()
    assert evaluated.out.splitlines()[-1] == trained.out.splitlines()[-1]
    assert evaluated.out.splitlines()[0] == f"114 samples: the test part of {files['test']}"
    on_file = nnmpi("evaluate", str(output), str(files["test"])).succeeded()
    assert on_file.out.splitlines()[1:] == evaluated.out.splitlines()[1:]
    out = tmp_path / "predictions.npz"
    nnmpi("predict", str(output), "--part", "validation", "--out", str(out)).succeeded()
    assert np.load(out)["row"].tolist() == list(range(114))


def test_a_changed_test_file_is_refused(nnmpi: CommandServer, files: dict[str, Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = "train", str(files["training"]), "--test-data", str(files["test"]), "--epochs", "1"
    nnmpi(*command, "--output", str(output)).succeeded()
    rows = parts_of()["test"][::-1]
    np.savez(files["test"], X=X[rows], y=Y[rows])
    done = nnmpi("evaluate", str(output))
    assert done.status == 2
    assert "is not what the model was trained on" in done.err


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": X[:9, :7], "y": Y[:9]}, "has 7 features, --data"),
        ({"X": X[:9], "y": np.full(9, 5)}, "y of --test-data other.npz holds the class 5"),
        ({"X": np.full((9, 30), np.nan), "y": Y[:9]}, "--test-data other.npz: row 0, feature 0 (both from 0) is nan"),
        ({"X": np.full((9, 30), 1e300), "y": Y[:9]}, "--test-data other.npz: row 0, feature 0 (both from 0) is 1e+300"),
        ({"X": X[:9]}, "--test-data other.npz: "),
        ({"X": X[:9], "y": Y[:9], "sample_weight": np.ones(9)}, "give weights to both files or to none"),
    ],
)
def test_other_data_for_the_test_part_are_refused(
    nnmpi: CommandServer, files: dict[str, Path], tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "other.npz", **arrays)
    output = tmp_path / "run"
    command = "train", str(files["training"]), "--test-data", "other.npz", "--output", str(output)
    done = nnmpi(*command, cwd=tmp_path)
    assert done.status == 2
    assert words in done.err
    assert len(done.err.splitlines()) == 1


def test_early_stopping_watches_what_monitor_says() -> None:
    result = nnmpi.train(
        X, Y, early_stopping=3, monitor="validation_roc_auc", validation_fraction=0.25, epochs=12, learning_rate=0.1
    )
    watched = [metrics["validation_roc_auc"] for metrics in result.metrics]
    best = int(np.argmax(watched))  # the first of equal ones
    assert len(watched) == min(12, best + 1 + 3)
    validation = parts_of()["validation"]
    expected = roc_auc_score(Y[validation], result.model.predict_proba(X[validation])[:, 1])
    assert watched[best] == pytest.approx(expected, rel=1e-6)


def test_a_metric_to_lower_is_lowered() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 4))
    y = x @ [1.0, 2.0, -1.0, 0.5] + generator.normal(size=300)
    result = nnmpi.train(x, y, early_stopping=2, monitor="validation_mae", epochs=30, learning_rate=0.05)
    watched = [metrics["validation_mae"] for metrics in result.metrics]
    training, _ = train_test_split(np.arange(300), test_size=0.2, random_state=42)
    _, validation = train_test_split(training, test_size=0.1, random_state=42)
    expected = mean_absolute_error(y[validation], result.model.predict(x[validation]))
    assert min(watched) == pytest.approx(expected, rel=1e-5)


def test_scores_in_config_are_those_of_scikit_learn(train: Train) -> None:
    run = train("--data", "iris", "--epochs", "4", "--dtype", "float64")
    x, y = load_iris(return_X_y=True)
    _, test = train_test_split(np.arange(150), test_size=0.2, random_state=42)
    network = nnmpi.load(run.directory)
    scores = run.config["scores"]["test"]
    assert scores["f1_macro"] == pytest.approx(f1_score(y[test], network.predict(x[test]), average="macro"), rel=1e-12)
    expected = roc_auc_score(y[test], network.predict_proba(x[test]), multi_class="ovr")
    assert scores["roc_auc"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"monitor": "validation_roc_auc"}, "monitor validation_roc_auc needs a validation part"),
        ({"early_stopping": 3, "validation_fraction": 0}, "early_stopping 3 needs a validation part"),
        ({"monitor": "validation_mae", "early_stopping": 2}, "does not go with the targets"),
        ({"monitor": "roc_auc", "early_stopping": 2}, "allowed are validation_ with loss or the name of a metric"),
        ({"monitor": "validation_auc", "early_stopping": 2}, "validation_ followed by one of loss, accuracy"),
        ({"validation_data": "iris", "validation_fraction": 0.2}, "cannot be combined"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        nnmpi.train("iris", epochs=1, **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize("metric", ["roc_auc", "top_2_accuracy"])
def test_an_undefined_monitor_ends_in_a_line_and_writes_nothing(metric: str, tmp_path: Path) -> None:
    y = np.zeros(len(X), np.intp)
    y[parts_of()["training"][:40]] = 1  # the validation part has no sample of class 1
    monitor, output = f"validation_{metric}", tmp_path / "run"
    with pytest.raises(InputError, match=rf"{monitor} is undefined on the validation part \(114 samples\)"):
        nnmpi.train(X, y, early_stopping=2, monitor=monitor, validation_fraction=0.25, epochs=2, output=output)
    assert not output.exists()


@pytest.mark.parametrize("stratify", [False, True])
def test_parts_of_a_large_source_keep_the_order_of_its_rows(stratify: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a shard is a contiguous run of rows, and a rank reads it in one piece."""
    monkeypatch.setattr("nnmpi.data.sources.source.LARGE", 1)
    parts = split(open_source("breast_cancer"), 0.2, 0.1, 42, stratify)
    assert all((np.diff(rows.astype(int)) > 0).all() for rows in vars(parts).values())
    assert sorted(np.concatenate(list(vars(parts).values())).tolist()) == ROWS.tolist()
    if stratify:
        assert [len(parts.test), Y[parts.test].sum()] == [114, 72]


@pytest.mark.parametrize(
    ("test_fraction", "validation_fraction", "empty"),
    [(1e-9, 0.0, "test"), (0.2, 1e-9, "validation"), (1 - 1e-9, 0.0, "training")],
)
def test_an_empty_part_of_a_large_source_is_refused(
    test_fraction: float, validation_fraction: float, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row's part is drawn on its own, so a part with a small fraction may get no row."""
    monkeypatch.setattr("nnmpi.data.sources.source.LARGE", 1)
    with pytest.raises(InputError, match=f"-fraction .*: the {empty} part has none of the 569 samples"):
        split(open_source("breast_cancer"), test_fraction, validation_fraction, 42, stratify=False)
