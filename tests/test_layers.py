"""Activations and the dense layer, compared with independent formulas."""

import numpy as np
import pytest
import reference

from nnmpi.nn.activations import ACTIVATIONS, multiply_by_slope
from nnmpi.nn.buffers import Buffer
from nnmpi.nn.layers import Dense

Z = np.array([-3.0, -1.0, -0.1, 0.2, 0.9, 4.0]).reshape(2, 3)
HUGE = np.array([[-1e30, -800.0, -90.0, 90.0, 800.0, 1e30]])


def perform(calls):
    for call in calls:
        call()


def dense(activation="relu", fan_in=3, fan_out=5, max_batch=8, dropout=0.0, dtype=np.float64):
    parameters = np.random.default_rng(1).normal(size=(1 + fan_in, fan_out)).astype(dtype)
    return parameters, Dense(parameters, activation, max_batch, dropout=dropout)


def backward(name, h, delta, booleans=False):
    """``delta`` times the derivative of an activation with the outputs `h`."""
    slope = np.empty(h.shape, (bool if booleans else f"i{h.itemsize}") if name == "relu" else h.dtype)
    calls = ACTIVATIONS[name][1](h, slope)
    perform([*calls, multiply_by_slope(delta, slope)] if calls else [])


def forward(layer, x, training=False):
    layer.resize([len(x)])
    perform([*layer.products([reference.columns(x)]), *layer.activation(training)])


def test_reference_has_a_formula_for_every_activation():
    assert set(ACTIVATIONS) == set(reference.ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_its_formula(name):
    z = Z.copy()
    perform(ACTIVATIONS[name][0](z))
    np.testing.assert_allclose(z, reference.ACTIVATIONS[name](Z), rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_backward_multiplies_by_the_derivative(name):
    h, delta = reference.ACTIVATIONS[name](Z), np.full_like(Z, 3.0)
    backward(name, h, delta)
    np.testing.assert_allclose(delta, 3 * reference.DERIVATIVES[name](Z), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_bounded_activations_do_not_overflow(name, dtype):
    z = HUGE.astype(dtype)
    with np.errstate(all="raise", under="ignore"):
        perform(ACTIVATIONS[name][0](z))
    np.testing.assert_allclose(z, reference.ACTIVATIONS[name](HUGE), atol=1e-7)


@pytest.mark.parametrize("booleans", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relu_backward_lets_nothing_through_where_the_unit_is_off(dtype, booleans):
    least = np.finfo(dtype).smallest_subnormal
    h = np.array([[0.0, least, -0.0, 1e30, 0.0, -0.0, 3.0]], dtype)
    delta = np.array([[5.0, 5.0, 5.0, -np.pi, -np.pi, -np.pi, least]], dtype)
    expected = delta * (h > 0)
    backward("relu", h, delta, booleans)
    assert (delta == expected).all()


@pytest.mark.parametrize("b", [0, 1, 3, 4])
def test_buffer_keeps_its_ones_for_every_batch_size(b):
    buffer = Buffer(2, 4, np.float32, ones=True)
    buffer.view(4).fill(7)
    buffer.view(b).fill(5)
    assert buffer.view_with_ones(b).tolist() == [[1] * b, [5] * b, [5] * b]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_is_f_of_weights_times_inputs_plus_bias(name):
    parameters, layer = dense(name)
    x = np.random.default_rng(2).normal(size=(4, 3))
    forward(layer, x)
    expected = reference.ACTIVATIONS[name](x @ parameters[1:] + parameters[0])
    np.testing.assert_allclose(layer.blocks[0].output.T, expected, rtol=1e-12, atol=1e-15)


def test_dense_hands_its_outputs_on_under_a_row_of_ones():
    _, layer = dense()
    forward(layer, np.ones((4, 3)))
    assert (layer.blocks[0].output_with_ones[0] == 1).all()
    assert (layer.blocks[0].output_with_ones[1:] == layer.blocks[0].output).all()


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.75])
def test_mask_drops_the_asked_part_and_scales_the_rest(dropout):
    _, layer = dense(fan_out=100, max_batch=400, dropout=dropout)
    layer.resize([400])
    layer.draw_mask(0, slice(0, 400), np.random.default_rng(3))
    kept = layer.blocks[0].mask > 0
    np.testing.assert_allclose(layer.blocks[0].mask[kept], 1 / (1 - dropout))
    deviation = np.sqrt(dropout * (1 - dropout) / kept.size)
    assert abs(np.mean(~kept) - dropout) < 5 * deviation


def test_mask_of_a_microbatch_touches_its_columns_only():
    _, layer = dense(dropout=0.5)
    layer.resize([6])
    layer.blocks[0].mask.fill(9)
    layer.draw_mask(0, slice(2, 4), np.random.default_rng(3))
    assert (layer.blocks[0].mask[:, [0, 1, 4, 5]] == 9).all()
    assert (layer.blocks[0].mask[:, 2:4] != 9).all()


def test_mask_of_a_microbatch_does_not_depend_on_the_batch_around_it():
    _, layer = dense(dropout=0.5)
    layer.resize([8])
    layer.draw_mask(0, slice(5, 8), np.random.default_rng(3))
    inside = layer.blocks[0].mask[:, 5:8].copy()
    layer.resize([3])
    layer.draw_mask(0, slice(0, 3), np.random.default_rng(3))
    assert (layer.blocks[0].mask == inside).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_mask_is_used_in_training_only(training):
    parameters, layer = dense("sigmoid", dropout=0.5)
    layer.resize([8])
    layer.draw_mask(0, slice(0, 8), np.random.default_rng(3))
    mask = layer.blocks[0].mask.copy() if training else 1.0
    x = np.random.default_rng(2).normal(size=(8, 3))
    forward(layer, x, training)
    expected = reference.ACTIVATIONS["sigmoid"](x @ parameters[1:] + parameters[0]).T * mask
    np.testing.assert_allclose(layer.blocks[0].output, expected, rtol=1e-12)


def test_the_gradient_takes_the_place_of_hidden_outputs_only():
    _, hidden = dense()
    parameters, _ = dense()
    last = Dense(parameters, None, 8)
    for layer in (hidden, last):
        layer.resize([8])
    assert np.shares_memory(hidden.blocks[0].output, hidden.blocks[0].delta)
    assert not np.shares_memory(last.blocks[0].output, last.blocks[0].delta)


@pytest.mark.parametrize("shape", [(5, 3), (7, 4000), (6, 4000), (2, 20_000), (3, 0)])
def test_relu_takes_all_rows_whether_they_fit_into_one_piece_or_not(shape):
    z = np.random.default_rng(4).normal(size=shape)
    expected = np.where(z > 0, z, 0)
    perform(ACTIVATIONS["relu"][0](z))
    assert (z == expected).all()


def test_relu_refuses_memory_that_it_could_not_change_in_place():
    with pytest.raises(ValueError, match="copy"):
        ACTIVATIONS["relu"][0](np.ones((4, 6))[:, :3])
