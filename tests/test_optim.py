"""Optimizers, compared with updates worked by hand and with a textbook network over 20 updates."""

import numpy as np
import pytest
import reference
from scipy.special import expit, softmax

from nnmpi.nn import optimizers as optim
from nnmpi.nn.architecture import Architecture
from nnmpi.nn.network import Network
from nnmpi.nn.optimizers import OPTIMIZERS, SGD, Adam
from nnmpi.nn.schedules import Schedule

START = (1.0, -2.0)
# sum gradients over 4 samples: the means are (1, -2), then (1, 1)
GRADIENTS = ((4.0, -8.0), (4.0, 4.0))


def parameters_after(optimizer, w, gradients, count=4, learning_rate=0.1):
    """Return the parameters after each update."""
    history = []
    for k, gradient in enumerate(gradients):
        optimizer.update(np.array(gradient), divide_by=count, learning_rate=learning_rate, k=k)
        history.append(w.copy())
    return np.array(history)


# w₁ = (1, -2) - 0.1 (1, -2) = (0.9, -1.8)
# plain:     w₂ = (0.9, -1.8) - 0.1 (1, 1) = (0.8, -1.9)
# classical: v₁ = (-0.1, 0.2);  v₂ = 0.9 v₁ - 0.1 (1, 1) = (-0.19, 0.08);  w₂ = (0.71, -1.72)
# Nesterov:  w₁ = (1, -2) + 0.9 (-0.1, 0.2) - (0.1, -0.2) = (0.81, -1.62)
#            w₂ = (0.81, -1.62) + 0.9 (-0.19, 0.08) - (0.1, 0.1) = (0.539, -1.648)
@pytest.mark.parametrize(
    ("momentum", "nesterov", "expected"),
    [
        (0.0, False, [(0.9, -1.8), (0.8, -1.9)]),
        (0.0, True, [(0.9, -1.8), (0.8, -1.9)]),
        (0.9, False, [(0.9, -1.8), (0.71, -1.72)]),
        (0.9, True, [(0.81, -1.62), (0.539, -1.648)]),
    ],
    ids=["plain", "plain, nesterov ignored", "classical", "nesterov"],
)
def test_sgd_worked_by_hand(momentum, nesterov, expected):
    w = np.array(START)
    np.testing.assert_allclose(parameters_after(SGD(w, momentum, nesterov), w, GRADIENTS), expected, rtol=1e-14)


def test_another_gradient_vector_counts_from_its_first_update_on():
    w, other = np.array(START), np.array(START)
    vectors = np.empty((2, 2))
    optimizer, expected = SGD(w, 0.9, True), SGD(other, 0.9, True)
    for k, index in enumerate((0, 1, 0)):
        vectors[index] = GRADIENTS[index]
        optimizer.update(vectors[index], divide_by=4, learning_rate=0.1, k=k)
        expected.update(np.array(GRADIENTS[index]), divide_by=4, learning_rate=0.1, k=k)
    assert w.tobytes() == other.tobytes()


def test_sgd_without_momentum_has_no_state():
    assert SGD(np.array(START), 0.0, True).state.size == 0


# g = 2: m = 0.1 · 2 = 0.2, v = 0.001 · 4 = 0.004; m̂ = 0.2 / 0.1 = 2, v̂ = 0.004 / 0.001 = 4
#   w = 1 - 0.1 · 2 / (2 + 1e-8) = 0.9 + 5e-10
# g = -1: m = 0.9 · 0.2 - 0.1 = 0.08, v = 0.999 · 0.004 + 0.001 = 0.004996
#   m̂ = 0.08 / 0.19 = 0.4210526316, v̂ = 0.004996 / 0.001999 = 2.4992496248, √v̂ = 1.5809015228
#   w = 0.9 + 5e-10 - 0.1 · 0.4210526316 / 1.5809015227 = 0.9 + 5e-10 - 0.0266337038 = 0.8733662967
def test_adam_worked_by_hand():
    w = np.array([1.0])
    history = parameters_after(Adam(w), w, [[8.0], [-4.0]])
    np.testing.assert_allclose(history[:, 0], [0.9 + 5e-10, 0.8733662967], rtol=2e-10)


@pytest.mark.parametrize("size", [1.0, 1e-8], ids=["large", "as small as epsilon"])
def test_adam_is_the_papers_algorithm(size):
    generator = np.random.default_rng(0)
    gradients = size * generator.normal(size=(5, 7))
    start = generator.normal(size=7)
    w, expected, m, v = start.copy(), start.copy(), 0.0, 0.0
    optimizer = Adam(w)
    for t, g in enumerate(gradients, 1):
        optimizer.update(10 * g, divide_by=10, learning_rate=0.01, k=t - 1)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        expected = expected - 0.01 * m_hat / (np.sqrt(v_hat) + 1e-8)
        np.testing.assert_allclose(w - start, expected - start, rtol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_on_from_its_state(name):
    gradients = np.random.default_rng(0).normal(size=(6, 5))
    whole, halves = np.ones(5), np.ones(5)
    one, first, second = (OPTIMIZERS[name](w, 0.9, True) for w in (whole, halves, halves))
    for k, gradient in enumerate(gradients):
        one.update(gradient.copy(), divide_by=3, learning_rate=0.1, k=k)
        if k == 3:
            second.state[:] = first.state
        (first if k < 3 else second).update(gradient.copy(), divide_by=3, learning_rate=0.1, k=k)
    assert whole.tobytes() == halves.tobytes()


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_vector_of_many_pieces_is_updated_as_one(name, nesterov, monkeypatch):
    gradients = np.random.default_rng(0).normal(size=(3, 11))
    results = []
    for piece in (11, 4):
        monkeypatch.setattr(optim, "PIECE", piece)
        parameters = np.ones(11)
        optimizer = OPTIMIZERS[name](parameters, 0.9, nesterov)
        for k, gradient in enumerate(gradients):
            optimizer.update(gradient.copy(), divide_by=3, learning_rate=0.1, k=k)
        results.append((parameters.tobytes(), optimizer.state.tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_parameters_stay_float32(name):
    w = np.ones(3, np.float32)
    optimizer = OPTIMIZERS[name](w, 0.9, True)
    optimizer.update(np.ones(3, np.float32), divide_by=2.0, learning_rate=0.1, k=0)
    assert optimizer.state.dtype == np.float32


class Textbook:
    """Full-batch gradient descent on separate weights and biases, with the mean loss and its own backpropagation."""

    OUTPUT_DELTAS = {  # noqa: RUF012
        ("cross-entropy", "softmax"): lambda z, t: softmax(z, axis=1) - t,
        ("binary-cross-entropy", "sigmoid"): lambda z, t: expit(z) - t,
        ("mse", "identity"): lambda z, t: 2 * (z - t) / t.shape[1],
    }

    def __init__(self, sizes, flat, pair, activation, momentum, nesterov, l2, rate, decay):
        self.weights, self.biases = reference.weights_and_biases(sizes, flat)
        self.velocities = [np.zeros_like(p) for p in (*self.weights, *self.biases)]
        self.pair, self.activation = pair, activation
        self.momentum, self.nesterov, self.l2, self.rate, self.decay = momentum, nesterov, l2, rate, decay

    def gradients(self, x, t):
        zs = reference.pre_activations(self.weights, self.biases, x, self.activation)
        hs = [x, *(reference.ACTIVATIONS[self.activation](z) for z in zs[:-1])]
        delta = self.OUTPUT_DELTAS[self.pair](zs[-1], t) / len(x)
        dws, dbs = [], []
        for layer in reversed(range(len(zs))):
            dws.insert(0, hs[layer].T @ delta + self.l2 * self.weights[layer])
            dbs.insert(0, delta.sum(0))
            if layer:
                delta = delta @ self.weights[layer].T * reference.DERIVATIVES[self.activation](zs[layer - 1])
        return dws + dbs

    def update(self, x, t, k):
        rate = self.rate / (1 + self.decay * k)
        parameters = [*self.weights, *self.biases]
        for i, (p, g) in enumerate(zip(parameters, self.gradients(x, t), strict=True)):
            v = self.velocities[i] = self.momentum * self.velocities[i] - rate * g
            p += self.momentum * v - rate * g if self.nesterov else v


@pytest.mark.parametrize("pair", Textbook.OUTPUT_DELTAS, ids="-".join)
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.8, False), (0.7, True)], ids=["plain", "classical", "nesterov"]
)
def test_twenty_updates_are_those_of_the_textbook(pair, activation, momentum, nesterov):
    sizes, l2, rate, decay = (4, 6, 5, reference.outputs_of(pair[0])), 0.02, 0.05, 0.1
    generator = np.random.default_rng(6)
    x = generator.normal(size=(30, 4))
    t = reference.targets_for(*pair, 30, generator)
    flat = generator.normal(scale=0.5, size=Architecture(sizes, activation, pair[1], pair[0], "float64").parameters)
    textbook = Textbook(sizes, flat, pair, activation, momentum, nesterov, l2, rate, decay)

    network = Network(Architecture(sizes, activation, pair[1], pair[0], "float64"), flat, 30)
    optimizer = SGD(flat, momentum, nesterov)
    schedule = Schedule("inverse-time", rate, 1, 20, decay=decay)
    gradient = np.empty_like(flat)
    views = network.architecture.views(gradient)
    columns, targets = reference.columns(x), np.ascontiguousarray(t.T)
    batch = network.bind([columns], [targets], [(views, [])], training=True)
    for k in range(20):
        network.forward(batch)
        network.loss(batch)
        network.backward(batch)
        network.add_l2(views, l2 * 30)
        optimizer.update(gradient, divide_by=30, learning_rate=schedule(k), k=k)
        textbook.update(x, t, k)
        expected = reference.flattened(textbook.weights, textbook.biases)
        assert np.linalg.norm(flat - expected) <= 1e-10 * np.linalg.norm(expected)
