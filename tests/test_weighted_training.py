"""Weights of samples and classes in whole trainings, compared with scikit-learn and with repeated samples."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, recall_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import nnmpi
from nnmpi.errors import InputError

EXACT = {"dtype": "float64", "batch_size": "full", "lr_decay": 0, "deterministic": True}
CONVEX = {**EXACT, "hidden": (), "loss": "binary-cross-entropy", "epochs": 400, "learning_rate": 0.5, "l2": 0.1}


def two_classes(rows=400, share=0.9, seed=0):
    x, y = make_classification(rows, 6, weights=[share], flip_y=0.1, random_state=seed)
    return x, y, np.random.default_rng(seed).integers(0, 4, rows).astype(float)


def symmetric(samples=24, features=5, seed=1):
    """Return pairs x and -x of ones and minus ones. However often a pair is repeated, means are 0, deviations 1."""
    generator = np.random.default_rng(seed)
    half = generator.choice([-1.0, 1.0], (samples // 2, features))
    return np.repeat(half, 2, axis=0) * np.tile([1.0, -1.0], samples // 2)[:, None], generator.integers(0, 3, samples)


def trained(x, y, weights, tmp_path, **settings):
    """Train on all samples; the test part is a separate file."""
    path = tmp_path / "test.npz"
    np.savez(path, X=x[:12], y=y[:12], **({} if weights is None else {"sample_weight": np.ones(12)}))
    return nnmpi.train(x, y, sample_weight=weights, test_data=str(path), **settings)


@pytest.mark.parametrize("targets", ["classes", "numbers"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_weight_of_two_is_the_sample_twice(tmp_path: Path, targets: str, optimizer: str) -> None:
    x, y = symmetric()
    if targets == "numbers":
        y = np.tile([1.0, -1.0], len(x) // 2) * np.repeat([1, 1, -1], len(x) // 3)  # each pair has a 1 and a -1
    counts = np.repeat(np.random.default_rng(2).integers(1, 4, len(x) // 2), 2)
    settings = {**EXACT, "epochs": 30, "hidden": (7,), "optimizer": optimizer, "l2": 0.01, "task": "auto"}
    settings["task"] = "classification" if targets == "classes" else "regression"
    weighted = trained(x, y, counts, tmp_path, **settings)
    repeated = trained(np.repeat(x, counts, axis=0), np.repeat(y, counts, axis=0), None, tmp_path, **settings)
    np.testing.assert_allclose(weighted.model.parameters, repeated.model.parameters, rtol=1e-9, atol=1e-12)
    losses = [[m["train_loss"] for m in result.metrics] for result in (weighted, repeated)]
    np.testing.assert_allclose(*losses, rtol=1e-10)


def test_equal_weights_change_nothing_but_rounding(tmp_path: Path) -> None:
    x, y = symmetric()
    settings = {"dtype": "float64", "epochs": 3, "batch_size": 10, "task": "classification"}  # a ragged last batch
    plain = trained(x, y, None, tmp_path, **settings)
    weighted = trained(x, y, np.full(len(x), 4.0), tmp_path, **settings)
    np.testing.assert_allclose(weighted.model.parameters, plain.model.parameters, rtol=1e-11)


@pytest.mark.parametrize("power", [-300, -140, 120, 300])  # the weights or their sums are beyond float32's range
@pytest.mark.parametrize("weighted", ["samples", "classes"])
def test_a_factor_of_all_weights_changes_no_bit(tmp_path: Path, weighted: str, power: int) -> None:
    """The loss, the gradient and all mean metrics are divided by the sum of the weights."""
    x, y, weights = two_classes(200)
    labels, path = {"0": 1.5, "1": 3.0}, tmp_path / "weights.json"

    def train(factor: float):
        path.write_text(json.dumps({label: weight * factor for label, weight in labels.items()}))
        scaled_weights = weights * factor if weighted == "samples" else weights
        more = {"class_weight": str(path)} if weighted == "classes" else {}
        return nnmpi.train(x, y, sample_weight=scaled_weights, epochs=2, validation_fraction=0.2, l2=0.1, **more)

    plain, scaled = train(1.0), train(2.0**power)
    assert scaled.model.parameters.tobytes() == plain.model.parameters.tobytes()
    assert [m["train_loss"] for m in scaled.metrics] == [m["train_loss"] for m in plain.metrics]
    for part in ("test", "validation"):
        for name in ("loss", "accuracy", "roc_auc", "average_precision", "f1_macro", "log_loss"):
            assert scaled.all_scores[part][name] == pytest.approx(plain.all_scores[part][name], rel=1e-12), name


def test_weights_that_vanish_beside_the_largest_count_nothing(tmp_path: Path) -> None:
    x, y, weights = two_classes(200)
    tiny, zero = np.where(weights > 1, weights, 1e-90), np.where(weights > 1, weights, 0.0)
    models = [
        nnmpi.train(x, y, sample_weight=sample_weight, epochs=2, batch_size=8).model.parameters
        for sample_weight in (tiny, zero)
    ]
    assert models[0].tobytes() == models[1].tobytes()


def test_a_batch_without_weight_leaves_the_parameters(tmp_path: Path) -> None:
    """Only one sample has weight. The steps of the others change nothing, so one step with all samples is the same."""
    x, y = symmetric(12)
    weights = np.zeros(12)
    weights[3] = 2.0
    settings = {**EXACT, "momentum": 0, "task": "classification", "shards": 1, "epochs": 1, "l2": 0.1}
    one_by_one = trained(x, y, weights, tmp_path, **{**settings, "batch_size": 1})
    at_once = trained(x, y, weights, tmp_path, **settings)
    start = trained(x, y, weights, tmp_path, **{**settings, "epochs": 0})
    np.testing.assert_allclose(one_by_one.model.parameters, at_once.model.parameters, rtol=1e-9)
    assert np.abs(at_once.model.parameters - start.model.parameters).max() > 1e-4
    assert one_by_one.metrics[0]["train_loss"] == pytest.approx(at_once.metrics[0]["train_loss"], rel=1e-12)


@pytest.mark.parametrize("ways", ["balanced", "samples", "both"])
def test_trains_to_the_optimum_of_scikit_learn(ways: str) -> None:
    x, y, w = two_classes()
    weights = None if ways == "balanced" else w
    settings = {**CONVEX, "class_weight": "none" if ways == "samples" else "balanced"}
    result = nnmpi.train(x, y, sample_weight=weights, **settings)
    training, _ = train_test_split(np.arange(len(x)), test_size=0.2, random_state=42)
    weights = np.ones(len(x)) if weights is None else weights
    if ways != "samples":
        counts = np.bincount(y[training])
        weights = weights * (len(training) / (2 * counts))[y]
    model = LogisticRegression(C=1 / (0.1 * weights[training].sum()), tol=1e-10, max_iter=1000)
    model.fit(StandardScaler().fit_transform(x[training]), y[training], sample_weight=weights[training])
    weight = result.model.architecture.views(result.model.parameters)[0]
    np.testing.assert_allclose(weight[1:, 0], model.coef_[0], atol=1e-5)
    np.testing.assert_allclose(weight[0], model.intercept_, atol=1e-5)


def test_scores_know_the_weights() -> None:
    """The loss uses the weights of samples and classes, the metrics only those of samples."""
    x, y, w = two_classes()
    result = nnmpi.train(x, y, sample_weight=w, class_weight="balanced", epochs=5, dtype="float64")
    training, test = train_test_split(np.arange(len(x)), test_size=0.2, random_state=42)
    probability = result.model.predict_proba(x[test])
    predicted = probability.argmax(axis=1)
    assert result.scores.accuracy == pytest.approx(accuracy_score(y[test], predicted, sample_weight=w[test]), rel=1e-12)
    class_weights = (len(training) / (2 * np.bincount(y[training])))[y[test]]
    expected = log_loss(y[test], probability, sample_weight=w[test] * class_weights)
    assert result.scores.loss == pytest.approx(expected, rel=1e-12)


def test_balanced_weights_raise_the_recall_of_a_rare_class(nnmpi, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    y = generator.random(2000) < 0.1
    x = generator.normal(size=(2000, 3)) + y[:, None]  # two clouds that overlap
    np.savez(tmp_path / "rare.npz", X=x, y=np.where(y, "rare", "usual"))
    recalls = []
    for way in ("none", "balanced"):
        output = tmp_path / way
        flags = "--data", str(tmp_path / "rare.npz"), "--hidden", "none", "--class-weight", way, "--output", str(output)
        nnmpi("train", *flags).succeeded()
        scores = json.loads((output / "config.json").read_text())["scores"]["test"]
        recalls.append(scores["classes"][0]["recall"])
    assert recalls[1] > recalls[0] + 0.1


@pytest.mark.slow
def test_weights_in_a_file_are_those_given(nnmpi, tmp_path: Path) -> None:
    x, y, w = two_classes()
    np.savez(tmp_path / "plain.npz", X=x, y=y)
    np.savez(tmp_path / "weighted.npz", X=x, y=y, sample_weight=w)
    np.savez(tmp_path / "named.npz", X=x, y=y, importance=w)
    (tmp_path / "classes.json").write_text('{"0": 1, "1": 3}')
    models = {}
    for name, flags in {
        "plain": (),
        "weighted": (),
        "named": ("--sample-weight", "importance"),
        "plain classes": ("--class-weight", str(tmp_path / "classes.json")),
    }.items():
        data, output = tmp_path / f"{name.split()[0]}.npz", tmp_path / name
        command = "train", "--data", str(data), "--epochs", "2", "--output", str(output), *flags
        nnmpi(*command).succeeded()
        line = nnmpi("evaluate", str(output)).succeeded().out.splitlines()[-1]
        scores = json.loads((output / "config.json").read_text())["scores"]["test"]
        assert line == f"test accuracy {scores['accuracy']:.4f}, test loss {scores['loss']:.4f}"
        models[name] = (output / "model.safetensors").read_bytes()[-2000:]
    assert models["weighted"] == models["named"]
    assert len(set(models.values())) == 3


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (-1.0, ["hold -1 in row 7", "allowed are finite numbers from 0"]),
        (np.nan, ["hold nan in row 7"]),
        (np.inf, ["hold inf in row 7"]),
        (1e200, ["are at most 1e+200", "from 1e-100 to 1e+100"]),
    ],
)
def test_weights_that_are_none_are_refused(weights: float, words: list[str]) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    sample_weight = np.ones(len(x))
    sample_weight[7] = weights
    with pytest.raises(InputError) as caught:
        nnmpi.train(x, y, sample_weight=sample_weight)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("weights", [np.ones(3), np.ones((569, 2)), np.array(["a"] * 569)])
def test_weights_of_another_shape_are_refused(weights: np.ndarray) -> None:
    x, y = load_breast_cancer(return_X_y=True)
    with pytest.raises(InputError, match="each of the 569 rows needs one number"):
        nnmpi.train(x, y, sample_weight=weights)


def test_parts_without_weight_are_refused() -> None:
    x, y = load_breast_cancer(return_X_y=True)
    with pytest.raises(InputError, match="are all 0"):
        nnmpi.train(x, y, sample_weight=np.zeros(len(x)))
    weights = np.ones(len(x))
    weights[train_test_split(np.arange(len(x)), test_size=0.2, random_state=42)[1]] = 0
    with pytest.raises(InputError, match=r"of the test part have weight 0.* or draw other parts with seed"):
        nnmpi.train(x, y, sample_weight=weights)


def test_separate_data_without_weight_are_refused_by_their_flag(tmp_path: Path) -> None:
    x, y, _ = two_classes(200, share=0.5)
    np.savez(tmp_path / "zero.npz", X=x[y == 0], y=y[y == 0])
    (tmp_path / "w.json").write_text('{"0": 0}')
    with pytest.raises(InputError, match=r"of the test part have weight 0 .*, or give test_data with other samples"):
        nnmpi.train(x, y, test_data=tmp_path / "zero.npz", class_weight=tmp_path / "w.json")


def test_a_part_that_cannot_be_split_off_is_blamed_alone(tmp_path: Path) -> None:
    x, y, _ = two_classes(20, share=0.5)
    np.savez(tmp_path / "test.npz", X=x, y=y)
    with pytest.raises(InputError, match=r"cannot be split with validation_fraction 0\.99: "):
        nnmpi.train(x, y, test_data=tmp_path / "test.npz", validation_fraction=0.99)


def test_recall_counts_weights() -> None:
    x, y, w = two_classes()
    result = nnmpi.train(x, y, sample_weight=w, epochs=3)
    _, test = train_test_split(np.arange(len(x)), test_size=0.2, random_state=42)
    expected = recall_score(y[test], result.model.predict(x[test]), sample_weight=w[test], average=None)
    recalls = [row["recall"] for row in result.all_scores["test"]["classes"]]
    np.testing.assert_allclose(recalls, expected, rtol=1e-12)


def test_evaluate_refuses_samples_whose_classes_have_no_weight(nnmpi, tmp_path):
    x, y, _ = two_classes(200, share=0.5)
    np.savez(tmp_path / "d.npz", X=x, y=y)
    np.savez(tmp_path / "zero.npz", X=x[y == 0], y=y[y == 0])
    (tmp_path / "w.json").write_text('{"0": 0}')
    flags = ("--class-weight", "w.json", "--epochs", "1", "--output", "m")
    nnmpi("train", "d.npz", *flags, cwd=tmp_path).succeeded()
    nnmpi("evaluate", "m", "d.npz", cwd=tmp_path).succeeded()
    done = nnmpi("evaluate", "m", "zero.npz", cwd=tmp_path)
    assert done.status == 2
    assert "all samples have weight 0 in the loss" in done.messages[0]
