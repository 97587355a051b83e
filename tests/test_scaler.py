"""Standardization is scikit-learn's, and the same on any number of ranks."""

import numpy as np
import pytest
from ranks import on_ranks
from sklearn.preprocessing import StandardScaler

from nnmpi.data.scaler import Scaler, fit_scaler
from nnmpi.data.shards import held_shards, shard_rows

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(GENERATOR.uniform(-50, 50, 6), GENERATOR.uniform(0.01, 10, 6), (2700, 6))


def fitted(x, world_size=1, shards=8):
    """Return the scaler that each rank of a world fits; a rank has only its own shards."""

    def work(world):
        held = held_shards(shards, world.size, world.rank)
        samples = [x[shard_rows(np.arange(len(x)), shards, s)] for s in held]
        return fit_scaler(lambda: samples, world.gather_rows)

    return on_ranks(world_size, work)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_scaler_is_that_of_scikit_learn(dtype, world_size):
    x = X.astype(dtype)
    expected = StandardScaler().fit(x.astype(np.float64))
    scaler = fitted(x, world_size)[0]
    np.testing.assert_allclose(scaler.mean, expected.mean_, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale, expected.scale_, rtol=1e-12)


def test_transformed_features_have_mean_zero_and_deviation_one():
    x = X.copy()
    fitted(x)[0].transform(x, x)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-12)


def test_transform_is_that_of_scikit_learn_in_float32():
    x = np.empty(X.shape, np.float32)
    fitted(X)[0].transform(X, x)
    np.testing.assert_allclose(x, StandardScaler().fit(X).transform(X).astype(np.float32), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 5.0, 0.1, 1e8 / 3, -1e-30, 1e20, -1e308, 5e-324])
def test_feature_without_spread_has_scale_one(constant):
    x = X.copy()
    x[:, 2] = constant
    scaler = fitted(x)[0]
    assert scaler.scale[2] == 1
    assert scaler.mean[2] == constant
    assert (np.delete(scaler.scale, 2) != 1).all()


def test_small_spread_on_a_large_mean_is_spread():
    x = X.copy()
    x[:, 2] = 1000 + 1e-6 * x[:, 1]
    np.testing.assert_allclose(fitted(x)[0].scale, StandardScaler().fit(x).scale_, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shards", [8, 11])
@pytest.mark.parametrize("features", [1, 6])
def test_scaler_has_the_same_bits_on_any_number_of_ranks(dtype, shards, features):
    x = X[:, :features].astype(dtype)
    bits = {
        scaler.mean.tobytes() + scaler.scale.tobytes()
        for world_size in (1, 2, 3, 4, 8)
        for scaler in fitted(x, world_size, shards)
    }
    assert len(bits) == 1


def test_shards_may_be_empty():
    np.testing.assert_allclose(fitted(X[:5], 4)[0].mean, X[:5].mean(0), rtol=1e-12)


def test_transform_writes_to_a_view():
    x = np.ones((3, 1 + 2), np.float32)
    Scaler(np.array([1.0, 0.0]), np.array([1.0, 2.0])).transform(x[:, 1:], x[:, 1:])
    assert x.tolist() == [[1, 0, 0.5]] * 3
