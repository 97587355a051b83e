"""Every setting of ``train`` can be set on the command line and has its effect."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from jobs import Run
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

Train = Callable[..., Run]

SMALL = ("--epochs", "2", "--dtype", "float64", "--hidden", "16,8")
BASE = {
    "iris": ("--data", "iris", *SMALL),
    "breast_cancer": ("--data", "breast_cancer", *SMALL),
    "digits": ("--data", "digits", *SMALL),
    "mse": ("--data", "iris", *SMALL, "--loss", "mse"),
}

AUGMENTATIONS = ("shift", "rotate", "noise", "shift,rotate,noise")

# (base run, flags): the flags change the trained parameters
QUICK = [
    ("iris", "--activation tanh"),
    ("iris", "--optimizer adam"),
    ("iris", "--l2 0.1"),
    ("iris", "--dropout 0.3"),
    ("iris", "--augment noise"),
]
SLOW = [
    ("iris", "--no-nesterov"),
    ("iris", "--lr-schedule cosine"),
    ("iris", "--early-stopping 5"),  # the validation part comes out of the training part
    ("iris", "--seed 7"),
    *(("iris", f"--activation {name}") for name in ("sigmoid", "identity")),
    ("iris", "--learning-rate 0.02"),
    ("iris", "--momentum 0.5"),
    ("iris", "--momentum 0"),
    ("iris", "--lr-decay 0.1"),
    ("iris", "--lr-schedule constant"),
    ("iris", "--lr-schedule step --lr-step-epochs 1"),
    ("iris", "--warmup-epochs 1"),
    *(("digits", f"--augment {names}") for names in AUGMENTATIONS),
    ("iris", "--test-fraction 0.3"),
    ("iris", "--stratify"),
    ("iris", "--shards 4"),
    ("iris", "--shards 1"),
    ("iris", "--batch-size 16"),
    ("iris", "--batch-size full"),
    ("iris", "--loss mse"),
    *(("mse", f"--output-activation {name}") for name in ("sigmoid", "softmax")),
    ("breast_cancer", "--loss mse"),
    ("breast_cancer", "--loss mse --output-activation sigmoid"),
]
EFFECTS = [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)]


def differs(run: Run, base: Run) -> bool:
    return run.parameters.shape != base.parameters.shape or np.abs(run.parameters - base.parameters).max() > 1e-7


@pytest.mark.parametrize(("base", "flags"), EFFECTS)
def test_setting_changes_the_parameters(train: Train, base: str, flags: str) -> None:
    run = train(*BASE[base], *flags.split())
    assert differs(run, train(*BASE[base]))
    assert np.isfinite(run.parameters).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", ["--lr-decay 1e-6", "--loss cross-entropy", "--output-activation softmax", "--seed 42"]
)
def test_default_may_be_written_out(train: Train, flags: str) -> None:
    assert not differs(train(*BASE["iris"], *flags.split()), train(*BASE["iris"]))


@pytest.mark.slow
def test_augmentations_differ_from_each_other(train: Train) -> None:
    runs = [train(*BASE["digits"], "--augment", name) for name in AUGMENTATIONS]
    assert all(differs(a, b) for i, a in enumerate(runs) for b in runs[:i])


@pytest.mark.slow
def test_activations_differ_from_each_other(train: Train) -> None:
    runs = [train(*BASE["iris"], "--activation", name) for name in ("relu", "sigmoid", "tanh", "identity")]
    assert all(differs(a, b) for i, a in enumerate(runs) for b in runs[:i])


def test_binary_cross_entropy_has_one_output(train: Train) -> None:
    run = train(*BASE["breast_cancer"], "--loss", "binary-cross-entropy")
    assert run.tensors["layers.2.bias"].shape == (1,)
    assert run.metrics[-1]["test_accuracy"] > 0.8


@pytest.mark.slow
def test_hidden_none_with_l2_is_logistic_regression(train: Train) -> None:
    flags = ("--hidden", "", "--epochs", "300", "--l2", "0.1", "--dtype", "float64", "--learning-rate", "0.5")
    run = train("--data", "breast_cancer", "--loss", "binary-cross-entropy", "--batch-size", "full", *flags)
    x, y = load_breast_cancer(return_X_y=True)
    x, _, y, _ = train_test_split(x, y, test_size=0.2, random_state=42)
    model = LogisticRegression(C=1 / (0.1 * len(x)), tol=1e-8).fit(StandardScaler().fit_transform(x), y)
    assert set(run.tensors) == {"layers.0.weight", "layers.0.bias", "scaler.mean", "scaler.scale"}
    np.testing.assert_allclose(run.tensors["layers.0.weight"][:, 0], model.coef_[0], atol=1e-4)
    np.testing.assert_allclose(run.tensors["layers.0.bias"], model.intercept_, atol=1e-4)


def test_hidden_sets_the_shapes(train: Train) -> None:
    tensors = train("--data", "iris", "--hidden", "7,5,6", "--epochs", "0").tensors
    sizes = (4, 7, 5, 6, 3)
    assert [tensors[f"layers.{i}.weight"].shape for i in range(4)] == list(pairwise(sizes))


def test_no_epochs_write_the_initial_model(train: Train) -> None:
    run = train("--data", "iris", "--hidden", "500", "--epochs", "0")
    weight, limit = run.tensors["layers.0.weight"], math.sqrt(6 / (4 + 500))
    assert run.metrics == []
    assert not run.tensors["layers.0.bias"].any()
    assert 0.98 * limit < np.abs(weight).max() <= limit
    assert weight.std() == pytest.approx(limit / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_that_of_the_tensors(train: Train, dtype: str) -> None:
    tensors = train("--data", "iris", "--epochs", "1", "--dtype", dtype).tensors
    assert {str(tensor.dtype) for name, tensor in tensors.items() if name.startswith("layers.")} == {dtype}


def test_seed_repeats_a_run(train: Train) -> None:
    # such a small network gets one thread anyway: --threads 1 only makes `train` run again
    a, b = train(*BASE["iris"]), train(*BASE["iris"], "--threads", "1")
    np.testing.assert_array_equal(a.parameters, b.parameters)
    assert b.config["bits"]["blas"]["threads"] == 1


def test_l2_pulls_weights(train: Train) -> None:
    # one step on all samples without momentum: w = w₀ - η (g + λ w₀)
    flags = ("--batch-size", "full", "--momentum", "0", "--learning-rate", "0.1", "--dtype", "float64")
    flags = ("--data", "iris", "--lr-schedule", "constant", *flags)
    initial, plain, decayed = (
        train(*flags, *more) for more in (("--epochs", "0"), ("--epochs", "1"), ("--epochs", "1", "--l2", "0.5"))
    )
    for name, tensor in plain.tensors.items():
        pulled = 0.1 * 0.5 * initial.tensors[name] if name.endswith("weight") else 0
        np.testing.assert_allclose(decayed.tensors[name], tensor - pulled, atol=1e-14)


def test_batch_size_and_test_fraction_set_the_steps(train: Train) -> None:
    def steps(*flags: str) -> int:
        return int(train(*BASE["iris"], *flags).metrics[-1]["step"])

    assert steps() == 2 * math.ceil(120 / 32)
    assert steps("--batch-size", "16") == 2 * math.ceil(120 / 16)
    assert steps("--batch-size", "full") == 2
    assert train(*BASE["iris"], "--test-fraction", "0.3").config["samples"] == {
        "training": 105,
        "validation": 0,
        "test": 45,
    }


# flags → learning rate of update k, in a run of 6 epochs with 4 updates each
SCHEDULES = {
    "--lr-schedule constant": lambda k: 0.01,
    "--lr-schedule inverse-time --lr-decay 0.1": lambda k: 0.01 / (1 + 0.1 * k),
    "--lr-schedule step --lr-step-epochs 2 --lr-step-factor 0.5": lambda k: 0.01 * 0.5 ** (k // 8),
    "--lr-schedule cosine": lambda k: 0.01 * (1 + math.cos(math.pi * k / 24)) / 2,
    "--lr-schedule constant --warmup-epochs 3": lambda k: 0.01 * min(1, (k + 1) / 12),
    "--lr-schedule cosine --warmup-epochs 1.5": lambda k: (
        0.01 * min(1, (k + 1) / 6) * (1 + math.cos(math.pi * k / 24)) / 2
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("flags", SCHEDULES)
def test_learning_rate_follows_the_schedule(train: Train, flags: str) -> None:
    run = train("--data", "iris", "--epochs", "6", *flags.split())
    expected = [SCHEDULES[flags](m["step"] - 1) for m in run.metrics]
    assert [m["learning_rate"] for m in run.metrics] == pytest.approx(expected, rel=1e-12)
    assert [m["step"] for m in run.metrics] == [4, 8, 12, 16, 20, 24]


def mean_loss(run: Run, x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean cross-entropy of a run's model, computed without nnmpi."""
    tensors = run.tensors
    h = (x - tensors["scaler.mean"]) / tensors["scaler.scale"]
    layers = len([name for name in tensors if name.endswith(".bias")])
    for i in range(layers):
        h = h @ tensors[f"layers.{i}.weight"] + tensors[f"layers.{i}.bias"]
        h = np.maximum(h, 0) if i < layers - 1 else h
    p = np.exp(h - h.max(axis=1, keepdims=True))
    return float(log_loss(y, p / p.sum(axis=1, keepdims=True)))


def test_early_stopping_keeps_the_best_epoch(train: Train) -> None:
    flags = ("--data", "iris", "--epochs", "200", "--early-stopping", "3", "--learning-rate", "0.1")
    run = train(*flags, "--dtype", "float64", "--validation-fraction", "0.2")
    validation_losses = [m["validation_loss"] for m in run.metrics]
    best = int(np.argmin(validation_losses))
    assert best + 1 + 3 == len(validation_losses) < 200
    assert run.config["samples"] == {"training": 96, "validation": 24, "test": 30}

    x, y = load_iris(return_X_y=True)
    rest, test = train_test_split(np.arange(150), test_size=0.2, random_state=42)
    _, validation = train_test_split(rest, test_size=0.2, random_state=42)
    assert mean_loss(run, x[validation], y[validation]) == pytest.approx(min(validation_losses), rel=1e-9)
    assert mean_loss(run, x[test], y[test]) == pytest.approx(run.metrics[best]["test_loss"], rel=1e-9)
    assert run.last_line.endswith(f"test loss {run.metrics[best]['test_loss']:.4f}")
    assert run.metrics[-1]["test_loss"] != run.metrics[best]["test_loss"]


def test_stratify_keeps_the_shares_of_the_classes(train: Train) -> None:
    run = train(*BASE["iris"], "--stratify")
    x, y = load_iris(return_X_y=True)
    training, test = train_test_split(np.arange(150), test_size=0.2, random_state=42, stratify=y)
    np.testing.assert_allclose(run.tensors["scaler.mean"], x[training].mean(axis=0))
    assert mean_loss(run, x[test], y[test]) == pytest.approx(run.metrics[-1]["test_loss"], rel=1e-9)


def test_metrics_are_those_of_the_model_kept(train: Train) -> None:
    run = train("--data", "digits", "--epochs", "2", "--dtype", "float64")
    x, y = load_digits(return_X_y=True)
    _, x, _, y = train_test_split(x, y, test_size=0.2, random_state=42)
    assert mean_loss(run, x, y) == pytest.approx(run.metrics[-1]["test_loss"], rel=1e-9)


def test_defaults_learn_digits(train: Train) -> None:
    assert train().metrics[-1]["test_accuracy"] >= 0.95


def test_dropout_and_augmentation_are_off_in_evaluation(train: Train) -> None:
    flags = ("--data", "digits", "--epochs", "0")
    with_both = train(*flags, "--dropout", "0.9", "--augment", "noise")
    assert with_both.last_line == train(*flags).last_line


ARTICLE = ("--hidden", "10,8")


@pytest.mark.slow
def test_network_of_the_article(train: Train) -> None:
    accuracies = [train(*ARTICLE, "--seed", str(seed)).metrics[-1]["test_accuracy"] for seed in range(5)]
    assert np.mean(accuracies) >= 0.92


@pytest.mark.mpi
@pytest.mark.slow
def test_network_of_the_article_on_four_ranks(train: Train) -> None:
    run, reference = train(*ARTICLE, "--seed", "0", mpi="openmpi", ranks=4), train(*ARTICLE, "--seed", "0")
    assert run.metrics[-1]["test_accuracy"] == pytest.approx(reference.metrics[-1]["test_accuracy"], abs=0.006)
