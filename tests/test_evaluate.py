"""Scores against scikit-learn's metrics, and equal on any number of ranks."""

import numpy as np
import pytest
import reference
from parts import load_part
from ranks import on_ranks
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score

from nnmpi.data.shards import held_shards
from nnmpi.data.sources import Source
from nnmpi.data.targets import targets_of
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.network import Network, decide, decide_labels
from nnmpi.nn.predict import CHUNK
from nnmpi.training.evaluation import Scores, evaluate
from nnmpi.training.scoring import outputs_of

FEATURES = 5


class Case:
    """An untrained network, samples in rows, and their logits by the textbook reference."""

    def __init__(self, loss, output, samples=3000, outputs=4, dtype="float64", seed=0):
        generator = np.random.default_rng(seed)
        self.dtype, self.pair = dtype, (loss, output)
        self.x = generator.normal(size=(samples, FEATURES)).astype(dtype)
        if output == "labels":
            output, self.pair = "sigmoid", (loss, "sigmoid")
            self.y = generator.random((samples, outputs)) < 0.3
        elif output == "identity":
            self.y = generator.normal(size=(samples, outputs)).astype(dtype)
        else:
            classes = 2 if loss == "binary-cross-entropy" else outputs
            self.y = generator.permutation(samples) % classes  # every class occurs
        self.source = Source("table", self.read, samples, FEATURES, self.y)
        self.targets, *_ = targets_of(self.source, loss)
        sizes = (FEATURES, 7, self.targets.outputs)
        self.architecture = Architecture(sizes, "tanh", output, loss, dtype)
        self.parameters = generator.normal(size=self.architecture.parameters).astype(dtype)
        weights, biases = reference.weights_and_biases(sizes, self.parameters.astype(float))
        self.logits = reference.pre_activations(weights, biases, self.x.astype(float), "tanh")[-1]

    def read(self, indices, out):
        out[:] = self.x[indices]

    def scores(self, world_size=1, shards=8):
        """Return the scores that each rank of a world computes."""

        def work(world):
            held = held_shards(shards, world.size, world.rank)
            part = load_part(self.source, np.arange(len(self.x)), shards, held, self.targets, self.dtype)
            return evaluate(Network(self.architecture, self.parameters.copy(), CHUNK), part, self.targets, world)

        return on_ranks(world_size, work)


KINDS = {
    "classes": ("cross-entropy", "softmax"),
    "two classes": ("binary-cross-entropy", "sigmoid"),
    "classes as numbers": ("mse", "softmax"),
    "numbers": ("mse", "identity"),
    "labels": ("binary-cross-entropy", "labels"),
}


@pytest.mark.parametrize("world_size", [1, 3])
def test_scores_of_a_classifier_are_those_of_scikit_learn(world_size):
    case = Case("cross-entropy", "softmax")
    scores = case.scores(world_size)[0]
    assert scores.loss == pytest.approx(log_loss(case.y, softmax(case.logits, axis=1)), rel=1e-12)
    assert scores.accuracy == accuracy_score(case.y, case.logits.argmax(1))
    assert scores.r2 is None
    assert scores.samples == 3000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_losses_are_exact_and_quiet(dtype):
    """With such large losses, the exponentials in the cross-entropy overflow at first."""
    case = Case("cross-entropy", "softmax", dtype=dtype)
    case.parameters *= 1000
    weights, biases = reference.weights_and_biases(case.architecture.sizes, case.parameters.astype(float))
    logits = reference.pre_activations(weights, biases, case.x.astype(float), "tanh")[-1]
    expected = reference.LOSS_SUMS[case.pair](logits, np.eye(4)[case.y]) / len(case.y)
    assert expected > 709
    assert case.scores()[0].loss == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-12)


def test_scores_of_two_classes_are_those_of_scikit_learn():
    case = Case("binary-cross-entropy", "sigmoid")
    scores = case.scores()[0]
    assert scores.loss == pytest.approx(log_loss(case.y, expit(case.logits[:, 0])), rel=1e-12)
    assert scores.accuracy == accuracy_score(case.y, expit(case.logits[:, 0]) > 0.5)


def test_squared_error_of_classes_is_that_of_scikit_learn():
    case = Case("mse", "softmax")
    scores = case.scores()[0]
    expected = mean_squared_error(np.eye(4)[case.y], softmax(case.logits, axis=1))
    assert scores.loss == pytest.approx(expected, rel=1e-12)
    assert scores.accuracy == accuracy_score(case.y, case.logits.argmax(1))


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("world_size", [1, 3])
def test_scores_of_a_regression_are_those_of_scikit_learn(world_size, outputs):
    case = Case("mse", "identity", outputs=outputs)
    scores = case.scores(world_size)[0]
    assert scores.loss == pytest.approx(mean_squared_error(case.y, case.logits), rel=1e-12)
    assert scores.r2 == pytest.approx(r2_score(case.y, case.logits), rel=1e-10)
    assert scores.accuracy is None


@pytest.mark.parametrize("world_size", [1, 3])
def test_scores_of_labels_are_those_of_scikit_learn(world_size):
    """The losses of the labels are summed, as in scikit-learn's ``MLPClassifier``."""
    case = Case("binary-cross-entropy", "labels", outputs=3)
    scores = case.scores(world_size)[0]
    expected = sum(log_loss(y, expit(z)) for y, z in zip(case.y.T, case.logits.T, strict=True))
    assert scores.loss == pytest.approx(expected, rel=1e-12)
    assert scores.accuracy == accuracy_score(case.y, expit(case.logits) > 0.5)
    assert 0 < scores.accuracy < 1
    assert scores.line("test") == f"test accuracy {scores.accuracy:.4f}, test loss {scores.loss:.4f}"


@pytest.mark.parametrize("constant", [0.0, 0.5, -7.25])
def test_r2_of_a_constant_target_is_that_of_scikit_learn(constant):
    case = Case("mse", "identity", samples=500, outputs=2)
    case.y[:, 0] = constant
    assert case.scores()[0].r2 == pytest.approx(r2_score(case.y, case.logits), rel=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [8, 11])
def test_scores_have_the_same_bits_on_any_number_of_ranks(kind, dtype, shards):
    case = Case(*KINDS[kind], dtype=dtype)
    assert len({scores for world_size in (1, 2, 3, 4, 8) for scores in case.scores(world_size, shards)}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_codes_come_from_one_forward_pass(kind, monkeypatch):
    case = Case(*KINDS[kind])
    part = load_part(case.source, np.arange(len(case.x)), 8, range(8), case.targets, case.dtype)
    network = Network(case.architecture, case.parameters, CHUNK)
    x = part.x[:CHUNK].T
    expected = network.predict(x).T.copy(), case.targets.decided(network.forward(network.bind([x]))[0])
    sizes = []
    forward = Network.forward
    monkeypatch.setattr(Network, "forward", lambda self, batch: sizes.extend(batch.sizes) or forward(self, batch))
    computed = outputs_of(network, part, case.targets)
    assert sum(sizes) == len(case.x)
    for own, other in zip(computed, expected, strict=True):
        np.testing.assert_array_equal(own[:CHUNK], other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [4, 7])
def test_fewer_samples_than_shards(kind, samples):
    case = Case(*KINDS[kind], samples=samples)
    distinct_scores = {scores for world_size in (1, 3, 8) for scores in case.scores(world_size)}
    assert len(distinct_scores) == 1
    scores = distinct_scores.pop()
    t = reference.columns(case.y.reshape(samples, -1))[1:].T
    if case.targets.kind == "one-hot":
        t = np.eye(4)[case.y]
    assert scores.samples == samples
    assert scores.loss == pytest.approx(reference.LOSS_SUMS[case.pair](case.logits, t) / samples, rel=1e-12)


@pytest.mark.parametrize("samples", [8 * CHUNK - 1, 8 * CHUNK, 8 * CHUNK + 1])
def test_samples_at_the_edge_of_a_chunk_are_counted_once(samples):
    case = Case("cross-entropy", "softmax", samples=samples)
    scores = case.scores()[0]
    assert scores.samples == samples
    assert scores.accuracy == accuracy_score(case.y, case.logits.argmax(1))


def test_float32_losses_are_summed_in_float64():
    case = Case("cross-entropy", "softmax", samples=20_000, dtype="float32")
    assert case.scores()[0].loss == pytest.approx(log_loss(case.y, softmax(case.logits, axis=1)), rel=1e-6)


def test_decide_takes_the_largest_logit():
    assert decide(np.array([[0.1, 3.0, -5.0], [0.2, -1.0, -6.0]])).tolist() == [1, 0, 0]


def test_decide_takes_a_positive_logit_as_the_second_class():
    assert decide(np.array([[-0.1, 0.1, 0.0]])).tolist() == [0, 1, 0]


def test_decide_takes_each_positive_logit_as_a_label():
    assert decide_labels(np.array([[-0.1, 0.1, 0.0], [2.0, 3.0, -1.0]])).tolist() == [[0, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        (Scores(0.10344, 0.97222, None, 360), "test accuracy 0.9722, test loss 0.1034"),
        (Scores(0.5, None, -0.25, 9), "test r2 -0.2500, test loss 0.5000"),
    ],
)
def test_line_is_that_of_the_contract(scores, line):
    assert scores.line("test") == line
