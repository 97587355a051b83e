"""A trained network, which needs only NumPy, agrees with the commands for samples of every type."""

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jobs import CommandServer, Run
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

import nnmpi
from nnmpi.errors import InputError
from nnmpi.nn.network import Bound, Network

X, y = load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def digits(train) -> Run:
    return train("--data", "digits", "--epochs", "3")


def test_agrees_with_the_command_predict(digits: Run, nnmpi: CommandServer, tmp_path: Path) -> None:
    nnmpi("predict", str(digits.directory), "--data", "digits", "--out", str(tmp_path / "out.npz")).succeeded()
    with np.load(tmp_path / "out.npz") as predicted:
        model = load(digits.directory)
        np.testing.assert_array_equal(model.predict(X), predicted["prediction"])
        np.testing.assert_allclose(model.predict_proba(X), predicted["probability"], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(model.classes, predicted["classes"])


def load(path: Path) -> "nnmpi.TrainedNetwork":
    return nnmpi.load(path)


@pytest.mark.parametrize(
    "samples",
    [X.tolist(), np.asfortranarray(X), X.astype(np.float16), X.astype(">f8"), X.astype(np.int8), X.reshape(-1, 8, 8)],
    ids=["lists", "Fortran order", "float16", "big-endian", "int8", "images"],
)
def test_what_the_samples_lie_in_makes_no_difference(digits: Run, samples: object) -> None:
    model = load(digits.directory)
    np.testing.assert_array_equal(model.predict_proba(samples), model.predict_proba(X))


@pytest.mark.parametrize(
    "value", [pd.NA, "x", pd.Timestamp("2020-01-01"), 10**400], ids=["NA", "text", "time", "large"]
)
def test_objects_that_are_no_numbers_are_refused(digits: Run, value: object) -> None:
    samples = X[:2].astype(object)
    np.testing.assert_array_equal(load(digits.directory).predict(samples), load(digits.directory).predict(X[:2]))
    samples[1, 3] = value
    with pytest.raises(ValueError, match="X must hold real numbers, none of them missing"):
        load(digits.directory).predict(samples)


def test_regression_predicts_in_the_units_of_the_targets(train) -> None:
    run = train("--data", "diabetes", "--epochs", "30")
    features, target = load_diabetes(return_X_y=True)
    predicted = load(run.directory).predict(features)
    assert predicted.shape == target.shape
    assert np.corrcoef(predicted, target)[0, 1] > 0.6
    with pytest.raises(ValueError, match="no probabilities"):
        load(run.directory).predict_proba(features)


def test_binary_network_has_two_probabilities(train) -> None:
    run = train("--data", "breast_cancer", "--loss", "binary-cross-entropy", "--epochs", "3")
    features, target = load_breast_cancer(return_X_y=True)
    model = load(run.directory)
    probabilities = model.predict_proba(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(model.predict(features), probabilities.argmax(axis=1))
    assert (model.predict(features) == target).mean() > 0.9


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_each_chunk_goes_forward_once(digits: Run, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = Network.forward
    monkeypatch.setattr(Network, "forward", lambda self, batch: sizes.extend(batch.sizes) or forward(self, batch))
    getattr(load(digits.directory), method)(X)
    assert sum(sizes) == len(X)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_predict_the_same(digits: Run, copied: Callable[[object], "nnmpi.TrainedNetwork"]) -> None:
    model = load(digits.directory)
    expected = model.predict_proba(X)  # a used network is copied
    np.testing.assert_array_equal(copied(model).predict_proba(X), expected)
    np.testing.assert_array_equal(copied(model).predict(X), model.predict(X))


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_predictions_in_another_thread_do_not_interfere(
    digits: Run, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(digits.directory)
    expected = getattr(model, method)(X)
    forward, inside = Network.forward, threading.Event()

    def interrupted(network: Network, batch: Bound) -> object:
        logits = forward(network, batch)
        if not inside.is_set():
            inside.set()
            other = threading.Thread(target=model.predict, args=(X[::-1],))
            other.start()
            other.join()
            inside.clear()
        return logits

    monkeypatch.setattr(Network, "forward", interrupted)
    np.testing.assert_array_equal(getattr(model, method)(X), expected)


def test_saved_copy_has_the_same_bytes(digits: Run, tmp_path: Path) -> None:
    load(digits.directory).save(tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == (digits.directory / "model.safetensors").read_bytes()


def test_bad_samples_are_named(digits: Run) -> None:
    model = load(digits.directory)
    with pytest.raises(ValueError, match=r"\(1797, 63\).*64"):
        model.predict(X[:, 1:])
    bad = X.copy()
    bad[300, 7] = np.nan
    with pytest.raises(ValueError, match=r"X\[300, 7\] is nan"):
        model.predict(bad)


def test_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        nnmpi.load(tmp_path / "nothing")


def test_needs_numpy_alone(digits: Run) -> None:
    program = (
        "import sys, nnmpi; nnmpi.load(sys.argv[1]).predict([[0.0] * 64]);"
        "print([n for n in ('mpi4py', 'sklearn', 'scipy', 'click', 'rich', 'threadpoolctl') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(digits.directory)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
