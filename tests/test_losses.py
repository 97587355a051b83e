"""Losses compared with scikit-learn and SciPy; derivatives compared with central differences."""

import numpy as np
import pytest
import reference
from scipy.special import expit, softmax
from sklearn.metrics import log_loss, mean_squared_error

from nnmpi.nn.losses import LOSSES, OUTPUT_ACTIVATIONS, Memory, weighted, with_weights

SAMPLES = 6


def case(loss, output_activation, scale=2.0):
    """Logits and targets, shape (n, outputs)."""
    generator = np.random.default_rng(4)
    t = reference.targets_for(loss, output_activation, SAMPLES, generator)
    return generator.normal(scale=scale, size=t.shape), t


def run(loss, output_activation, z, t):
    """The loss sum and its derivative, from samples in rows."""
    delta = np.full(z.T.shape, np.nan, z.dtype)
    scratch = Memory(z.shape[1], SAMPLES + 1, z.dtype).scratch(len(z))
    total = LOSSES[loss][output_activation](z.T.copy(), t.T.astype(z.dtype), delta, scratch)
    return total, delta.T


def test_reference_has_a_formula_for_every_loss():
    assert set(reference.PAIRS) == set(reference.LOSS_SUMS)


@pytest.mark.parametrize("pair", reference.PAIRS)
def test_loss_is_its_formula(pair):
    z, t = case(*pair)
    assert run(*pair, z, t)[0] == pytest.approx(reference.LOSS_SUMS[pair](z, t), rel=1e-12)


@pytest.mark.parametrize("pair", reference.PAIRS)
def test_derivative_is_the_central_difference(pair):
    z, t = case(*pair)
    numeric = np.empty_like(z)
    for index in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[index] += 1e-5
        down[index] -= 1e-5
        numeric[index] = (run(*pair, up, t)[0] - run(*pair, down, t)[0]) / 2e-5
    np.testing.assert_allclose(run(*pair, z, t)[1], numeric, rtol=1e-6, atol=1e-9)


def test_cross_entropy_is_that_of_scikit_learn():
    z, t = case("cross-entropy", "softmax")
    expected = log_loss(t.argmax(1), softmax(z, axis=1), normalize=False, labels=[0, 1, 2])
    assert run("cross-entropy", "softmax", z, t)[0] == pytest.approx(expected, rel=1e-12)


def test_binary_cross_entropy_is_that_of_scikit_learn():
    z, t = case("binary-cross-entropy", "sigmoid")
    expected = log_loss(t[:, 0], expit(z[:, 0]), normalize=False)
    assert run("binary-cross-entropy", "sigmoid", z, t)[0] == pytest.approx(expected, rel=1e-12)


def test_squared_error_is_that_of_scikit_learn():
    z, t = case("mse", "identity")
    assert run("mse", "identity", z, t)[0] / SAMPLES == pytest.approx(mean_squared_error(t, z), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pair", [pair for pair in reference.PAIRS if pair != ("mse", "identity")])
def test_huge_logits_stay_exact_and_quiet(pair, dtype):
    z, t = case(*pair, scale=1e4)
    z = np.round(z)  # the same number in both precisions
    overflow = "ignore" if pair[0] == "cross-entropy" else "raise"  # it overflows first, then is computed again
    with np.errstate(all="raise", under="ignore", over=overflow, invalid=overflow):
        total, delta = run(*pair, z.astype(dtype), t)
    assert np.isfinite(delta).all()
    assert total == pytest.approx(reference.LOSS_SUMS[pair](z, t), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("worst", [80.0, 88.0, 89.0, 1000.0])
def test_cross_entropy_where_some_samples_overflow(worst):
    z, t = case("cross-entropy", "softmax")
    z[2] = 1.0
    z[2, (1 + t[2].argmax()) % 3] = 1.0 + worst
    z = z.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        total, delta = run("cross-entropy", "softmax", z, t)
    assert total == pytest.approx(reference.LOSS_SUMS["cross-entropy", "softmax"](z.astype(float), t), rel=1e-6)
    np.testing.assert_allclose(delta, softmax(z.astype(float), axis=1) - t, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pair", [("cross-entropy", "softmax"), ("binary-cross-entropy", "sigmoid")])
def test_small_losses_keep_their_digits(pair):
    z = np.full((1, reference.outputs_of(pair[0])), -12.0)
    z[0, 0] = 12.0
    t = np.zeros_like(z)
    t[0, 0] = 1
    assert run(*pair, z, t)[0] == pytest.approx(reference.LOSS_SUMS[pair](z, t), rel=1e-4)


@pytest.mark.parametrize("pair", reference.PAIRS)
def test_no_samples_have_no_loss(pair):
    z, t = case(*pair)
    total, delta = run(*pair, z[:0], t[:0])
    assert total == 0
    assert delta.shape == (0, z.shape[1])


@pytest.mark.parametrize(("name", "formula"), [("softmax", softmax), ("sigmoid", expit), ("identity", lambda z: z)])
def test_output_activation_is_its_formula(name, formula):
    z = np.random.default_rng(5).normal(scale=3, size=(3, 4))
    expected = formula(z, axis=0) if name == "softmax" else formula(z)
    OUTPUT_ACTIVATIONS[name](z, np.empty(4))
    np.testing.assert_allclose(z, expected, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "smallest"), [(np.float32, -85), (np.float64, -700)])
def test_small_probabilities_are_accurate(dtype, smallest):
    z = np.linspace(smallest, 10, 100, dtype=dtype)
    expected = expit(z.astype(float))
    OUTPUT_ACTIVATIONS["sigmoid"](z, np.empty(0))
    np.testing.assert_allclose(z, expected, rtol=1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_probabilities_of_huge_logits_are_finite(name, dtype):
    z = np.array([[1e30, -1e30, 1e4], [0, 0, 1e4 + 8]], dtype)
    with np.errstate(all="raise", under="ignore"):
        OUTPUT_ACTIVATIONS[name](z, np.empty(3, dtype))
    assert ((z >= 0) & (z <= 1)).all()


def run_weighted(loss, output_activation, z, t, weights):
    """The weighted loss sum and its derivative, from samples in rows."""
    delta = np.full(z.T.shape, np.nan, z.dtype)
    memory = Memory(z.shape[1], SAMPLES + 1, z.dtype)
    weight_memory = memory.weights(len(z))
    scratch = with_weights(memory.scratch(len(z)), weight_memory)
    function = LOSSES[loss][output_activation]
    total = weighted(function, z.T.copy(), t.T.astype(z.dtype), delta, scratch, weights.astype(z.dtype), weight_memory)
    return total, delta.T


@pytest.mark.parametrize("pair", reference.PAIRS)
def test_a_weight_multiplies_the_loss_and_the_derivative_of_its_sample(pair):
    z, t = case(*pair)
    weights = np.array([0.0, 0.5, 1.0, 2.0, 3.25, 1e3])
    losses = [reference.LOSS_SUMS[pair](z[i : i + 1], t[i : i + 1]) for i in range(SAMPLES)]
    total, derivative = run_weighted(*pair, z, t, weights)
    assert total == pytest.approx(np.dot(weights, losses), rel=1e-12)
    np.testing.assert_allclose(derivative, run(*pair, z, t)[1] * weights[:, None], rtol=1e-12)


@pytest.mark.parametrize("pair", reference.PAIRS)
def test_a_weight_of_two_is_the_sample_twice(pair):
    z, t = case(*pair)
    total, _ = run_weighted(*pair, z, t, np.array([1.0, 2.0, 0.0, 1.0, 1.0, 0.0]))
    twice = [0, 1, 1, 3, 4]
    assert total == pytest.approx(reference.LOSS_SUMS[pair](z[twice], t[twice]), rel=1e-12)


@pytest.mark.parametrize("pair", reference.PAIRS)
def test_a_sample_of_weight_zero_may_have_any_loss(pair):
    """The loss of this sample overflows at first, and 0 · ∞ would be NaN."""
    z, t = case(*pair)
    z[2] *= 1e5
    weights = np.array([1.0, 2.0, 0.0, 1.0, 1.0, 0.0])
    used = weights > 0
    with np.errstate(over="ignore", invalid="ignore"):
        total, derivative = run_weighted(*pair, z, t, weights)
    losses = [reference.LOSS_SUMS[pair](z[i : i + 1], t[i : i + 1]) for i in np.flatnonzero(used)]
    assert total == pytest.approx(np.dot(weights[used], losses), rel=1e-12)
    assert not derivative[~used].any()
