"""Features are standardized in float64 and then rounded, for offsets, spreads and constants of any size."""

# reported as open-mmlab/mmdetection3d 296 (time stamps rounded to float32)

import numpy as np
import pytest
from ranks import on_ranks
from sklearn.preprocessing import StandardScaler

from nnmpi.config import Config
from nnmpi.training.task import prepare

G = np.random.default_rng(0)
N = 300
U = G.random(N)
EXPECTED_BY_SCIKIT_LEARN = {
    "time stamps": 1.7e9 + 60 * U,
    "nanoseconds since 1970": 1_700_000_000_000_000_000 + (6e10 * U).astype(np.int64),
    "an offset": 1e8 + U,
    "a negative offset and a small spread": -1e8 - 1e-3 * U,
    "a tiny spread": 1e-50 * U,
    "one far from the others": np.where(np.arange(N) == 7, 1e30, U),
    "small integers": (7 * U).astype(np.int8),
    "half precision": (1000 + 100 * U).astype(np.float16),
}
CONSTANTS = [0.1, -0.3, 1e20, -1e308, 5e-324, 1 / 3e8, 2**53 + 1, np.float32(0.1), np.uint64(2**64 - 1)]


def parts(tmp_path, columns, world_size=1, dtype="float32", fraction=0.2):
    """Return the standardized rows in the order of the file, and which of them are in the training part."""
    x = np.column_stack(columns)
    np.savez(tmp_path / "d.npz", X=x, y=np.arange(len(x)) % 2)
    config = Config(data=str(tmp_path / "d.npz"), dtype=dtype, test_fraction=fraction, batch_size=64)
    tasks = on_ranks(world_size, lambda world: prepare(config, world, None))
    out, trained = np.empty(x.shape, dtype), np.zeros(len(x), bool)
    for task in tasks:
        for part in (task.training, task.test):
            assert (part.x[:, 0] == 1).all()
            assert part.x.dtype == dtype
            out[part.rows] = part.x[:, 1:]
        trained[task.training.rows] = True
    return out, trained


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("name", EXPECTED_BY_SCIKIT_LEARN)
def test_features_are_those_of_scikit_learn_rounded_once(tmp_path, name, world_size, dtype):
    x = EXPECTED_BY_SCIKIT_LEARN[name][:, None]
    out, trained = parts(tmp_path, [x], world_size, dtype)
    expected = StandardScaler().fit(x[trained].astype(np.float64)).transform(x.astype(np.float64))
    np.testing.assert_allclose(out, expected.astype(dtype), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["denormal", "1e-300", "1e300", "-1e308 to 1e308"])
def test_spreads_whose_squares_leave_float64_are_standardized(tmp_path, name):
    unit = {"denormal": 1e-310, "1e-300": 1e-300, "1e300": 1e300, "-1e308 to 1e308": 1e308}[name]
    whole = np.round(2 * U - 1, 3)
    out, _ = parts(tmp_path, [unit * whole])
    expected, _ = parts(tmp_path, [whole])
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("constant", CONSTANTS, ids=str)
def test_constant_feature_is_exactly_zero(tmp_path, constant, world_size):
    out, _ = parts(tmp_path, [np.full(N, constant)], world_size)
    assert (out == 0).all()


def test_feature_that_is_constant_in_the_training_part_alone_has_scale_one(tmp_path):
    _, trained = parts(tmp_path, [U])
    x = np.where(trained, 5.0, 7.5)
    out, _ = parts(tmp_path, [x])
    assert out[~trained].ravel().tolist() == [2.5] * (~trained).sum()


def test_time_stamps_are_learned(nnmpi, tmp_path):
    t = 1.7e9 + 60 * U
    np.savez(tmp_path / "t.npz", X=t[:, None], y=t > 1.7e9 + 30)
    done = nnmpi("train", "--data", "t.npz", "--epochs", "30", "--output", "m", cwd=tmp_path).succeeded()
    assert float(done.out.split("test accuracy ")[-1].split(",")[0]) > 0.9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stored", ["uint8", "float16", "float32", "float64", "int64", ">i2", ">f8"])
def test_each_row_arrives_whatever_takes_more_memory(tmp_path, stored, dtype):
    # rows are standardized in the memory in which they were read
    x = np.arange(7 * 1000).reshape(1000, 7) % 251
    out, _ = parts(tmp_path, list(x.astype(stored).T), 2, dtype)
    expected, _ = parts(tmp_path, list(x.astype(np.float64).T), 1, dtype)
    assert (out == expected).all()
