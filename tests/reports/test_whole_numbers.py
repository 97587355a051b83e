"""Training decides whether targets are classes or numbers, and prints the reason."""

# reported as scikit-learn/scikit-learn 31752

import numpy as np
import pytest
from jobs import run

G = np.random.default_rng(6)
X = G.standard_normal((200, 3))
PRICES = np.round(X @ [1e5, 2e4, 3e3])
GRADES = np.arange(200) % 40  # five rows each
CASES = {
    "prices": (PRICES.astype(int), (), "numbers (200 different whole numbers in 200 rows; --task classification"),
    "prices as floats": (PRICES, (), "numbers (200 different whole numbers in 200 rows; --task classification"),
    "five rows a class": (GRADES, (), "40 classes (whole numbers, 5 rows a class; --task regression"),
    "fewer": (np.arange(200) % 41, (), "numbers (41 different whole numbers"),
    "zero and one as floats": ((X[:, 0] > 0) * 1.0, (), "2 classes (whole numbers, 100 rows a class"),
    "fractions": (X[:, 0], (), "numbers"),
    "booleans": (X[:, 0] > 0, (), "2 classes (booleans"),
    "rare strings": (np.array([f"s{i}" for i in range(200)]), (), "200 classes (strings, 1 row a class)"),
    "classes asked for": (np.arange(200) // 2, ("--task", "classification"), "100 classes (whole numbers, 2 rows"),
    "numbers asked for": (GRADES, ("--task", "regression"), "numbers (--task regression)"),
    "a loss for classes": (np.arange(200) // 2, ("--loss", "cross-entropy"), "100 classes"),
    "mse": (PRICES.astype(int), ("--loss", "mse"), "numbers (200"),
}


def train(directory, y, *flags):
    np.savez(directory / "d.npz", X=X, y=y)
    return ("train", "--data", "d.npz", "--epochs", "1", "--output", "m", *flags)


@pytest.mark.parametrize("name", CASES)
def test_training_says_what_it_takes_and_why(nnmpi, tmp_path, name):
    y, flags, text = CASES[name]
    done = nnmpi(*train(tmp_path, y, *flags), cwd=tmp_path).succeeded()
    assert done.out.startswith(f"target y: {text}")
    assert done.out.count("target y") == 1
    assert done.out.splitlines()[-1].startswith("test accuracy " if "classes" in text.split("(")[0] else "test r2 ")


@pytest.mark.mpi
def test_three_ranks_say_it_once(mpi, tmp_path):
    done = run(mpi.nnmpi(3, *train(tmp_path, PRICES.astype(int))), tmp_path).succeeded()
    assert done.out.startswith("target y: numbers (200")
    assert done.out.count("target y") == 1


@pytest.mark.parametrize(
    ("y", "flags", "text"),
    [
        (
            X[:, 0],
            ("--task", "classification"),
            "--task classification needs classes, but y of --data d.npz",
        ),
        (np.array(["a", "b"] * 100), ("--task", "regression"), "--task regression needs numbers"),
        (GRADES, ("--task", "regression", "--loss", "cross-entropy"), "--loss cross-entropy is for classes, --task"),
        (X[:, 0], ("--stratify",), "--stratify keeps the shares of classes, but y of --data d.npz holds numbers"),
        (np.array(["a"] * 199 + ["b"]), ("--stratify",), "--stratify needs at least 2 samples of each class"),
    ],
)
def test_what_does_not_go_together_is_refused(nnmpi, tmp_path, y, flags, text):
    done = nnmpi(*train(tmp_path, y, *flags), cwd=tmp_path)
    assert done.status == 2
    assert text in done.messages[0]


@pytest.mark.parametrize("stored", [int, np.uint32, ">i8", np.float32])
def test_models_take_equal_targets_of_any_type(nnmpi, tmp_path, stored):
    for y in (PRICES - PRICES.min(), X[:, 0] > 0):
        directory = tmp_path / str(y.dtype)
        directory.mkdir()
        last = nnmpi(*train(directory, y), cwd=directory).succeeded().out.splitlines()[-1]
        np.savez(directory / "new.npz", X=X, y=y.astype(stored))
        done = nnmpi("evaluate", "m", "--data", "new.npz", cwd=directory).succeeded()
        assert done.out.splitlines()[-1].split()[:2] == last.split()[:2]
