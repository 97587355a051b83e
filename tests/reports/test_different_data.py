"""Ranks that read different files of the same name are refused before the first step."""

# reported as k2-fsa/snowfall 152

import numpy as np
import pytest
from jobs import run

pytestmark = pytest.mark.mpi


def save(directory, seed=0, rows=200, features=8, classes=3, change=lambda x, y: None):
    directory.mkdir(exist_ok=True)
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(rows, features)), generator.integers(0, classes, rows)
    change(x, y)
    np.savez(directory / "d.npz", X=x, y=y)


def last_bit(x, y):
    x[-1, -1] = np.nextafter(x[-1, -1], 9)


def swap_rows(x, y):
    x[[3, 4]], y[[3, 4]] = x[[4, 3]], y[[4, 3]]


def rename(x, y):
    y += 10


DIFFERENCES = {
    "other contents": {"seed": 1},
    "one row more": {"rows": 201},
    "fewer rows": {"rows": 150},
    "more features": {"features": 9},
    "more classes": {"classes": 4},
    "one bit": {"change": last_bit},
    "two rows swapped": {"change": swap_rows},
    "other labels": {"change": rename},
}


def run_in_two_directories(mpi, tmp_path, *arguments):
    """Run a command with one rank in the directory a and two ranks in the directory b."""
    parts = []
    for directory, ranks in (("a", 1), ("b", 2)):
        working_directory = ["-wdir", str(tmp_path / directory)]
        parts += [":", "-n", str(ranks), *working_directory, mpi.program("nnmpi"), *arguments]
    return run([mpi.program("mpiexec"), *parts[1:]], tmp_path)


@pytest.mark.parametrize("difference", DIFFERENCES)
@pytest.mark.in_turn
def test_training(mpi, tmp_path, difference):
    save(tmp_path / "a")
    save(tmp_path / "b", **DIFFERENCES[difference])
    done = run_in_two_directories(mpi, tmp_path, "train", "--data", "d.npz", "--epochs", "1")
    assert done.status == 2
    assert len(done.messages) == 1
    assert "not the same on all ranks: ranks 1, 2 see other contents" in done.messages[0]


def test_evaluate_and_predict(mpi, nnmpi, tmp_path):
    save(tmp_path / "a")
    save(tmp_path / "b", change=last_bit)
    nnmpi("train", "--data", "d.npz", "--epochs", "1", "--output", "../m", cwd=tmp_path / "a").succeeded()
    for command in ("evaluate", "predict"):
        done = run_in_two_directories(mpi, tmp_path, command, "../m", "--data", "d.npz")
        assert done.status == 2
        assert "not the same on all ranks" in done.messages[0]


def test_different_models(mpi, nnmpi, tmp_path):
    for directory, seed in (("a", "1"), ("b", "2")):
        save(tmp_path / directory)
        flags = ("--data", "d.npz", "--epochs", "1", "--output", "m", "--seed", seed)
        nnmpi("train", *flags, cwd=tmp_path / directory).succeeded()
    done = run_in_two_directories(mpi, tmp_path, "predict", "m", "--data", "d.npz")
    assert done.status == 2
    assert "see another model than rank 0" in done.messages[0]


def test_equal_copies_are_taken(mpi, tmp_path):
    for directory in ("a", "b"):
        save(tmp_path / directory)
    run_in_two_directories(mpi, tmp_path, "train", "--data", "d.npz", "--epochs", "1").succeeded()
