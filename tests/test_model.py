"""The network: gradients compared with central differences, losses with a textbook network."""

import numpy as np
import pytest
import reference

from nnmpi.data.random_streams import Purpose, stream
from nnmpi.nn.activations import ACTIVATIONS
from nnmpi.nn.architecture import Architecture, glorot_uniform
from nnmpi.nn.network import Network

HIDDEN = (6, 5)


def architecture(loss="cross-entropy", output="softmax", activation="tanh", hidden=HIDDEN, dtype="float64"):
    return Architecture((4, *hidden, reference.outputs_of(loss)), activation, output, loss, dtype)


def network(shape, max_batch=8, dropout=0.0, seed=0):
    """Return a network with nonzero biases, so that a wrong bias shows."""
    parameters = np.random.default_rng(seed).normal(scale=0.6, size=shape.parameters).astype(shape.dtype)
    return Network(shape, parameters, max_batch, max_blocks=3, dropout=dropout)


def batch(shape, samples=5, seed=1):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(samples, shape.sizes[0]))
    t = reference.targets_for(shape.loss, shape.output_activation, samples, generator)
    return reference.columns(x, shape.dtype), np.ascontiguousarray(t.T, shape.dtype)


def loss_and_gradient(net, x, t):
    gradient = np.full_like(net.parameters, np.nan)
    bound = net.bind([x], [t], [(net.architecture.views(gradient), [])], training=True)
    net.forward(bound)
    (loss,) = net.loss(bound)
    net.backward(bound)
    return loss, gradient


def numeric_gradient(net, x, t, h=1e-5):
    w, gradient = net.parameters, np.empty_like(net.parameters)
    bound = net.bind([x], [t], training=True)
    for i, start in enumerate(w.copy()):
        losses = []
        for w[i] in (start + h, start - h):
            net.forward(bound)
            losses += net.loss(bound)
        w[i] = start
        gradient[i] = (losses[0] - losses[1]) / (2 * h)
    return gradient


def distance_to_kink(net, x):
    """Return the smallest absolute pre-activation of the hidden layers."""
    zs = reference.pre_activations(
        *reference.weights_and_biases(net.architecture.sizes, net.parameters), x[1:].T, net.architecture.activation
    )
    return min(np.abs(z).min() for z in zs[:-1])


def relative_errors(net, gradient, expected):
    """Return the relative errors of the gradients of each layer's weights and of each layer's biases."""
    parts = [reference.weights_and_biases(net.architecture.sizes, g) for g in (gradient, expected)]
    (gw, gb), (ew, eb) = parts
    return [np.linalg.norm(g - e) / np.linalg.norm(e) for g, e in zip(gw + gb, ew + eb, strict=True)]


@pytest.mark.parametrize("pair", reference.PAIRS, ids="-".join)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_is_the_central_difference(activation, pair):
    net = network(architecture(*pair, activation))
    x, t = batch(net.architecture)
    assert activation != "relu" or distance_to_kink(net, x) > 1e-3
    gradient = loss_and_gradient(net, x, t)[1]
    assert max(relative_errors(net, gradient, numeric_gradient(net, x, t))) <= 1e-6


@pytest.mark.parametrize("pair", reference.PAIRS, ids="-".join)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_under_dropout_is_the_central_difference(activation, pair):
    net = network(architecture(*pair, activation), dropout=0.4)
    x, t = batch(net.architecture)
    net.resize([x.shape[1]])
    net.draw_dropout(0, slice(0, x.shape[1]), np.random.default_rng(3))
    assert all(0 < np.count_nonzero(layer.blocks[0].mask) < layer.blocks[0].mask.size for layer in net.layers[:-1])
    gradient = loss_and_gradient(net, x, t)[1]
    assert max(relative_errors(net, gradient, numeric_gradient(net, x, t))) <= 1e-6


@pytest.mark.parametrize("pair", reference.PAIRS, ids="-".join)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_is_that_of_the_textbook_network(activation, pair):
    net = network(architecture(*pair, activation))
    x, t = batch(net.architecture)
    zs = reference.pre_activations(
        *reference.weights_and_biases(net.architecture.sizes, net.parameters), x[1:].T, activation
    )
    assert loss_and_gradient(net, x, t)[0] == pytest.approx(reference.LOSS_SUMS[pair](zs[-1], t.T), rel=1e-12)


@pytest.mark.parametrize("pair", reference.PAIRS, ids="-".join)
def test_gradient_without_hidden_layer(pair):
    net = network(architecture(*pair, hidden=()))
    x, t = batch(net.architecture)
    gradient = loss_and_gradient(net, x, t)[1]
    assert max(relative_errors(net, gradient, numeric_gradient(net, x, t))) <= 1e-6


def test_gradient_of_a_batch_is_the_sum_over_its_samples():
    net = network(architecture())
    x, t = batch(net.architecture)
    single = [loss_and_gradient(net, x[:, i : i + 1], t[:, i : i + 1])[1] for i in range(5)]
    np.testing.assert_allclose(loss_and_gradient(net, x, t)[1], np.sum(single, axis=0), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_batches_of_all_sizes_may_follow_each_other(dropout):
    shape = architecture()
    used = network(shape, dropout=dropout)
    for samples in (8, 3, 1, 0, 5, 8, 2):
        x, t = batch(shape, samples, seed=samples)
        fresh = network(shape, dropout=dropout)
        results = []
        for net in (used, fresh):
            if dropout:
                net.resize([samples])
                net.draw_dropout(0, slice(0, samples), np.random.default_rng(samples))
            results.append(loss_and_gradient(net, x, t))
        assert results[0][0] == results[1][0]
        assert results[0][1].tobytes() == results[1][1].tobytes()


@pytest.mark.parametrize("pair", reference.PAIRS, ids="-".join)
def test_no_samples_have_loss_and_gradient_zero(pair):
    net = network(architecture(*pair))
    loss, gradient = loss_and_gradient(net, *batch(net.architecture, samples=0))
    assert loss == 0
    assert (gradient == 0).all()


def test_dropout_is_off_outside_training():
    net = network(architecture(), dropout=0.5)
    x, _ = batch(net.architecture)
    net.resize([5])
    net.draw_dropout(0, slice(0, 5), np.random.default_rng(3))
    plain = network(architecture())
    assert (net.forward(net.bind([x]))[0] == plain.forward(plain.bind([x]))[0]).all()


def test_microbatches_draw_the_same_masks_in_any_batch():
    whole, part = (network(architecture(), dropout=0.5) for _ in range(2))
    whole.resize([8])
    whole.draw_dropout(0, slice(0, 5), stream(0, Purpose.DROPOUT, shard=0))
    whole.draw_dropout(0, slice(5, 8), stream(0, Purpose.DROPOUT, shard=1))
    part.resize([5, 3])
    part.draw_dropout(1, slice(0, 3), stream(0, Purpose.DROPOUT, shard=1))
    for a, b in zip(whole.layers[:-1], part.layers[:-1], strict=True):
        assert (a.blocks[0].mask[:, 5:] == b.blocks[1].mask).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pair", [("cross-entropy", "softmax"), ("mse", "softmax")], ids="-".join)
def test_probabilities_sum_to_one(pair, dtype):
    net = network(architecture(*pair, dtype=dtype))
    x, _ = batch(net.architecture, 8)
    probabilities = net.predict(x)
    assert (probabilities > 0).all()
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_predict_ends_in_the_output_activation():
    net = network(architecture("binary-cross-entropy", "sigmoid"))
    x, _ = batch(net.architecture)
    logits = net.forward(net.bind([x]))[0].copy()
    np.testing.assert_allclose(net.predict(x), 1 / (1 + np.exp(-logits)), rtol=1e-12)


@pytest.mark.parametrize("hidden", [(), (3,), (200, 150)])
def test_l2_adds_to_weights_and_not_to_biases(hidden):
    net = network(architecture(hidden=hidden))
    gradient = np.random.default_rng(7).normal(size=net.parameters.size)
    weights, biases = reference.weights_and_biases(net.architecture.sizes, gradient)
    w, _ = reference.weights_and_biases(net.architecture.sizes, net.parameters)
    expected = reference.flattened([g + 0.3 * v for g, v in zip(weights, w, strict=True)], biases)
    net.add_l2(net.architecture.views(gradient), 0.3)
    np.testing.assert_allclose(gradient, expected, rtol=1e-15, atol=1e-15)


def test_l2_goes_through_large_layers_in_pieces():
    net = network(architecture(hidden=(200, 150)))
    assert net._chunk.size < 200 * 150  # otherwise the test above does not test pieces


@pytest.mark.parametrize("sizes", [(3, 2), (64, 128, 64, 10), (1, 1)])
def test_glorot_weights_fill_their_bounds(sizes):
    flat = glorot_uniform(Architecture(sizes, "relu", "identity", "mse", "float64"), np.random.default_rng(8))
    weights, _ = reference.weights_and_biases(sizes, flat)
    for w in weights:
        fan_in, fan_out = w.shape
        limit = np.sqrt(6 / (fan_in + fan_out))
        assert np.abs(w).max() <= limit
        if w.size > 500:
            assert np.abs(w).max() > 0.98 * limit
            assert np.std(w) == pytest.approx(limit / np.sqrt(3), rel=0.1)


def test_initial_biases_are_zero():
    shape = architecture()
    flat = glorot_uniform(shape, np.random.default_rng(8))
    assert all((b == 0).all() for b in reference.weights_and_biases(shape.sizes, flat)[1])


def test_both_precisions_start_at_the_same_place():
    single, double = (
        glorot_uniform(architecture(dtype=dtype), stream(42, Purpose.PARAMETERS)) for dtype in ("float32", "float64")
    )
    assert (single == double.astype(np.float32)).all()


def test_parameters_are_counted():
    assert Architecture((4, 6, 3), "relu", "softmax", "cross-entropy", "float32").parameters == 5 * 6 + 7 * 3


@pytest.mark.parametrize("pair", reference.PAIRS, ids="-".join)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_blocks_have_the_bits_that_they_have_alone(activation, pair):
    """The bits do not depend on the rest of the batch; the deterministic reduction needs this."""
    shape, sizes = architecture(*pair, activation, dtype="float32"), [3, 1, 0]
    together, alone = network(shape), network(shape)
    blocks = [batch(shape, samples, seed=samples) for samples in sizes]
    gradients = [np.empty(shape.parameters, shape.dtype) for _ in sizes]
    destinations = [(shape.views(gradient), []) for gradient in gradients]
    bound = together.bind([x for x, _ in blocks], [t for _, t in blocks], destinations, training=True)
    together.forward(bound)
    losses = together.loss(bound)
    together.backward(bound)
    for (x, t), loss, gradient in zip(blocks, losses, gradients, strict=True):
        expected_loss, expected = loss_and_gradient(alone, x, t)
        assert loss == expected_loss
        assert gradient.tobytes() == expected.tobytes()


def test_additions_follow_their_blocks_in_order():
    shape = architecture(dtype="float32")
    net = network(shape)
    blocks = [batch(shape, samples, seed=samples) for samples in (4, 2, 3)]
    a, b, c = (loss_and_gradient(net, x, t)[1] for x, t in blocks)
    first, second = (np.empty_like(a) for _ in range(2))
    v, w = shape.views(first), shape.views(second)
    destinations = [(v, []), (w, [(v, w)]), (w, [(v, w)])]
    bound = net.bind([x for x, _ in blocks], [t for _, t in blocks], destinations, training=True)
    net.forward(bound)
    net.loss(bound)
    net.backward(bound)
    assert first.tobytes() == ((a + b) + c).tobytes()
