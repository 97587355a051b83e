"""Predictions return labels of every type exactly, or training refuses the labels at the start."""

# reported as numpy/numpy 14883 and 18557 (uint64 through float64)

import csv

import numpy as np
import pytest

from nnmpi import MLPClassifier

G = np.random.default_rng(4)
X = G.standard_normal((90, 3))
CODES = (X[:, 0] > 0).astype(int)
LABELS = {
    "beyond 2**63": np.array([5, 2**63 + 1], np.uint64),
    "all beyond 2**63": np.array([2**64 - 2, 2**64 - 1], np.uint64),
    "close beyond 2**53": np.array([2**60, 2**60 + 1], np.uint64),
    "negative and close": np.array([-(2**62), -(2**62) + 1]),
    "int8": np.array([-128, 127], np.int8),
    "booleans": np.array([False, True]),
    "an empty string": np.array(["", "full"]),
    "spaces at the end": np.array(["a", "a "]),
    "mixed widths": np.array(["é", "z" * 500]),
    "long": np.array(["x" * 10_000 + end for end in "ab"]),
    "commas, quotes and line ends": np.array(['a,"b"\n', "c\r\nd"]),
    "a NUL inside": np.array(["a\0b", "a\0c"]),
}


@pytest.mark.parametrize("name", LABELS)
def test_predictions_are_the_labels_exactly(nnmpi, tmp_path, name):
    labels = LABELS[name]
    np.savez(tmp_path / "d.npz", X=X, y=labels[CODES])
    flags = ("--data", "d.npz", "--epochs", "20", "--test-fraction", "0.1", "--output", "m")
    last = nnmpi("train", *flags, cwd=tmp_path).succeeded().out.splitlines()[-1]
    assert nnmpi("evaluate", "m", cwd=tmp_path).succeeded().out.splitlines()[-1] == last
    for out in ("p.npz", "p.csv"):
        nnmpi("predict", "m", "--data", "d.npz", "--out", out, cwd=tmp_path).succeeded()
    with np.load(tmp_path / "p.npz") as file:
        predicted, classes = file["prediction"], file["classes"]
    assert (predicted.dtype.kind in "iu") == (labels.dtype.kind in "iu")
    assert classes.tolist() == sorted(labels.tolist())
    assert set(predicted.tolist()) == set(labels.tolist())
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = [row[0] for row in csv.reader(file)][1:]
    assert rows == [str(label) for label in predicted.tolist()]


def test_many_long_labels_are_refused_before_training(nnmpi, tmp_path):
    labels = np.array([f"{i:020000d}" for i in range(1000)])
    np.savez_compressed(tmp_path / "d.npz", X=G.random((1000, 1)), y=labels)
    done = nnmpi("train", "--data", "d.npz", "--output", "m", cwd=tmp_path)
    assert done.status == 2
    assert "1000 classes with labels of up to 20000 characters" in done.messages[0]
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("labels", [np.arange(3000), np.array([f"label {i}" for i in range(3000)])], ids=["int", "str"])
def test_many_classes_come_back(nnmpi, tmp_path, labels):
    np.savez(tmp_path / "d.npz", X=G.random((15_000, 1)), y=np.tile(labels, 5))
    flags = ("--data", "d.npz", "--epochs", "1", "--hidden", "none", "--batch-size", "1000", "--output", "m")
    last = nnmpi("train", *flags, cwd=tmp_path).succeeded().out.splitlines()[-1]
    assert nnmpi("evaluate", "m", cwd=tmp_path).succeeded().out.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("known", "y", "text"),
    [
        ([0, 1], [0, 7], "holds the class 7 in row 1 (from 0), but the model knows 0, 1"),
        ([0, 1], ["0", "1"], "knows classes such as 0, but y of --data new.npz holds strings"),
        (["no", "yes"], ["no", ""], "holds the class '' in row 1 (from 0), but the model knows no, yes"),
        ([2**63, 2**63 + 1], [-(2**63), 0], "holds the class -9223372036854775808 in row 0"),
        ([0, 1], [0.0, 0.5], "holds numbers"),
    ],
)
def test_unknown_classes_are_named_plainly(nnmpi, tmp_path, known, y, text):
    np.savez(tmp_path / "d.npz", X=X, y=np.array(known, np.uint64 if known[0] == 2**63 else None)[CODES])
    nnmpi("train", "--data", "d.npz", "--epochs", "1", "--output", "m", cwd=tmp_path).succeeded()
    np.savez(tmp_path / "new.npz", X=X[:2], y=np.array(y))
    done = nnmpi("evaluate", "m", "--data", "new.npz", cwd=tmp_path)
    assert done.status == 2
    assert text in done.messages[0]
    assert "np." not in done.messages[0]


@pytest.mark.parametrize("stored", [np.int64, np.uint64, object])
@pytest.mark.parametrize("known", [np.int64, np.uint64])
def test_estimators_continue_with_close_labels_of_another_type(known, stored):
    classes = np.array([2**60, 2**60 + 1, 2**60 + 2])
    y = classes[CODES + (X[:, 1] > 0)]
    as_stored = y.astype(stored) if stored is not object else y.tolist()
    fitted = MLPClassifier((8,), random_state=0, learning_rate_init=0.03)
    for _ in range(60):
        fitted.partial_fit(X, as_stored, classes=classes.astype(known))
    assert np.mean(fitted.predict(X).astype(np.int64) == y) > 0.9
    with pytest.raises(ValueError, match="classes not in"):
        fitted.partial_fit(X, np.where(CODES, y, 2**60 + 3).astype(np.int64))
