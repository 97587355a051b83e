"""Ranks notice that they hold different data or models."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ranks import on_ranks

from nnmpi.config import Config
from nnmpi.data.columns import Column
from nnmpi.data.scaler import Scaler
from nnmpi.data.sources import Request, open_source
from nnmpi.data.sources.arrays import arrays
from nnmpi.data.sources.frames import frame_source
from nnmpi.data.table import Encoding
from nnmpi.data.targets import Targets
from nnmpi.errors import InputError
from nnmpi.files.model import Model, Recipe
from nnmpi.nn.architecture import Architecture
from nnmpi.training.agreement import check_same_data, check_same_model
from nnmpi.training.separate_sources import open_separate_sources

ROWS, FEATURES = (1 << 17) + 3, 9  # over 2^20 numbers


def array_source(x, y, weights):
    return arrays(x, y, "arrays", weights)


def frame(x, y, weights):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({f"f{i}": column for i, column in enumerate(x.T)} | {"text": np.where(x[:, 0] > 0, "a", "b")})
    return frame_source(table, Request("arrays"), y, weights)


@pytest.mark.parametrize("make", [array_source, frame])
@pytest.mark.parametrize("changed", ["x", "y", "weights", None])
def test_large_data_in_memory(make, changed):
    def check(world):
        rng = np.random.default_rng(0)
        data = {
            "x": rng.normal(size=(ROWS, FEATURES)),
            "y": rng.integers(0, 3, ROWS),
            "weights": rng.uniform(1, 2, ROWS),
        }
        if changed and world.rank == 1:
            number = data[changed][-2:].reshape(-1)[:1]
            number += 1 if changed == "y" else np.spacing(number)
        check_same_data(make(**data), world)

    if changed is None:
        on_ranks(2, check)
        return
    with pytest.raises(InputError, match="arrays is not the same on all ranks: rank 1 sees other contents than rank 0"):
        on_ranks(2, check)


def test_texts_as_targets():
    def check(world):
        y = np.array(["on time", "late"] * 50)
        y[7] = ("late", "lost")[world.rank % 2]
        check_same_data(arrays(np.ones((100, 2)), y), world)

    with pytest.raises(InputError, match="rank 1 sees other contents"):
        on_ranks(3, check)


@pytest.mark.parametrize("part", ["test", "validation"])
def test_files_of_a_part_are_named_with_their_flag(part, tmp_path):
    for rank in range(2):
        np.savez(tmp_path / f"{rank}.npz", X=np.ones((20, 2)), y=np.arange(20) % (2 + rank))

    def check(world):
        config = Config(**{f"{part}_data": str(tmp_path / f"{world.rank}.npz")})
        open_separate_sources(config, arrays(np.ones((9, 2)), np.arange(9)), world)

    with pytest.raises(InputError, match=rf"^--{part}-data {tmp_path}/\d.npz is not the same on all ranks"):
        on_ranks(2, check)


def test_data_that_follow_from_their_name_are_not_read():
    source = dataclasses.replace(open_source("random:1000x10x2"), read=None)
    on_ranks(2, lambda world: check_same_data(source, world))


def test_models_that_differ_in_one_fill_value():
    encoding = Encoding((Column("a", "number"),), {}, (0,), np.zeros(1), Scaler(np.zeros(2), np.ones(2)))
    model = Model(
        Architecture((2, 1), "relu", "identity", "mse", "float32"),
        np.zeros(3, np.float32),
        encoding,
        Scaler(np.zeros(1), np.ones(1)),
        Targets("numbers", None, 1),
        Recipe("d.csv", 0.2, 1, False),
    )

    def check(world):
        own = dataclasses.replace(encoding, fill=np.array([float(world.rank == 2)]))
        check_same_model(Path("m"), dataclasses.replace(model, scaler=own), world)

    with pytest.raises(InputError, match="m is not the same on all ranks: rank 2 sees another model than rank 0"):
        on_ranks(3, check)
