"""Equal numbers give equal models, for any stored type."""

# reported as scikit-learn/scikit-learn 13007 (float16)

import numpy as np
import pytest
from jobs import needed, run

G = np.random.default_rng(2)
X = G.integers(0, 100, (120, 5))
CLASSES = (X[:, 0] > 50).astype(int) + (X[:, 1] > 50)
NUMBERS = X[:, 0] * 2 + np.arange(120) % 60  # all below 2048: exact in float16
TYPES = ["float16", "float32", "float64", "int16", "int32", "int64", "uint16", "uint32", "uint64", ">f2", ">f8", ">i4"]


def model(nnmpi, directory, x, y, *flags):
    np.savez(directory / "d.npz", X=x, y=y)
    flags = ("--data", "d.npz", "--epochs", "2", "--deterministic", "--output", "m", "--overwrite", *flags)
    nnmpi("train", *flags, cwd=directory).succeeded()
    return (directory / "m" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("stored", [*TYPES, "int8", "uint8"])
def test_features(nnmpi, tmp_path, stored):
    expected = model(nnmpi, tmp_path, X.astype(np.float64), CLASSES)
    assert model(nnmpi, tmp_path, X.astype(stored), CLASSES) == expected


def test_features_of_zeros_and_ones(nnmpi, tmp_path):
    x = X > 50
    expected = model(nnmpi, tmp_path, x.astype(np.float64), CLASSES)
    assert all(model(nnmpi, tmp_path, x.astype(stored), CLASSES) == expected for stored in ("?", "u1", ">f2"))


def test_images_that_are_moved(nnmpi, tmp_path):
    x = G.integers(0, 256, (80, 4, 4))
    flags = ("--augment", "shift,noise")
    expected = model(nnmpi, tmp_path, x.astype(np.float64), CLASSES[:80], *flags)
    assert all(model(nnmpi, tmp_path, x.astype(t), CLASSES[:80], *flags) == expected for t in ("u1", "f2", "f4"))


@pytest.mark.parametrize("stored", [*TYPES, "int8", "uint8"])
def test_classes(nnmpi, tmp_path, stored):
    expected = model(nnmpi, tmp_path, X, CLASSES)
    assert model(nnmpi, tmp_path, X, CLASSES.astype(stored)) == expected
    assert model(nnmpi, tmp_path, X, CLASSES.astype(stored)[:, None]) == expected


@pytest.mark.parametrize("stored", TYPES)
def test_numbers_to_predict(nnmpi, tmp_path, stored):
    expected = model(nnmpi, tmp_path, X, NUMBERS.astype(np.float64), "--task", "regression")
    assert model(nnmpi, tmp_path, X, NUMBERS.astype(stored), "--task", "regression") == expected


@pytest.mark.mpi
def test_three_ranks(nnmpi, tmp_path):
    expected = model(nnmpi, tmp_path, X.astype(np.float64), NUMBERS * 1.0, "--task", "regression")
    np.savez(tmp_path / "d.npz", X=X.astype(">i2"), y=NUMBERS.astype(np.float16))
    flags = ("--data", "d.npz", "--epochs", "2", "--deterministic", "--output", "m3", "--task", "regression")
    run(needed("openmpi").nnmpi(3, "train", *flags), tmp_path).succeeded()
    assert (tmp_path / "m3" / "model.safetensors").read_bytes() == expected
