"""The batches of an epoch, row by row, at every world size and for any number of steps that are gathered at once."""

import numpy as np
import pytest
from parts import load_part

from nnmpi.data import batches as batches_module
from nnmpi.data.augment import Augmentation
from nnmpi.data.batches import Batches
from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.scaler import Scaler
from nnmpi.data.shards import Layout, held_shards, shard_rows
from nnmpi.data.sources import Source
from nnmpi.data.targets import targets_of

SEED, SAMPLES, FEATURES = 5, 67, 6
X = np.arange(SAMPLES * FEATURES).reshape(SAMPLES, FEATURES) * 0.5  # exact in float32, no two numbers alike
LABELS = {
    "one-hot": (np.arange(SAMPLES) * 7 % 5, "auto"),
    "binary": (np.arange(SAMPLES) * 7 % 2, "binary-cross-entropy"),
    "numbers": (np.column_stack([np.arange(SAMPLES), -np.arange(SAMPLES) / 4]), "auto"),
}
LAYOUTS = [Layout(SAMPLES, *sizes) for sizes in ((8, 16), (5, 7), (1, 10), (8, SAMPLES), (8, 3))]
WINDOWS = {"one step": 1, "a few steps": 3000, "more than the epoch": 1 << 20}


def read(indices, out):
    out[:] = X[indices]


def batch_of(batches, step):
    """The inputs and targets of a step, as one block."""
    (x,), (t,) = batches.batch(step)
    return x, t


def batches_of_rank(layout, world_size=1, rank=0, labels="one-hot", augment=(), by_shard=False):
    y, loss = LABELS[labels]
    source = Source("table", read, SAMPLES, FEATURES, y, (2, 3))
    targets, *_ = targets_of(source, loss)
    held = held_shards(layout.shards, world_size, rank)
    part = load_part(
        source,
        np.arange(SAMPLES),
        layout.shards,
        held,
        targets,
        "float32",
        keep=bool({"shift", "rotate"} & set(augment)),
    )
    augmentation = Augmentation(augment, FEATURES, (2, 3), SEED) if augment else None
    scaler = Scaler(np.zeros(FEATURES), np.ones(FEATURES))
    return Batches(part, layout, held, targets, SEED, augmentation, scaler, by_shard, lambda *arrays: arrays)


def rows_by_definition(layout, epoch, step, shard):
    rows = shard_rows(np.arange(layout.samples), layout.shards, shard)
    order = stream(SEED, Purpose.ORDER, epoch, shard=shard).permutation(len(rows))
    end = min((step + 1) * layout.batch_size, layout.samples)
    positions = [p // layout.shards for p in range(step * layout.batch_size, end) if p % layout.shards == shard]
    return rows[order[positions]]


def targets_by_definition(labels, rows):
    y = LABELS[labels][0][rows]
    if labels == "one-hot":
        return np.eye(5)[y].T
    return y[None] if labels == "binary" else y.T


@pytest.fixture(params=WINDOWS.values(), ids=WINDOWS)
def window(request, monkeypatch):
    monkeypatch.setattr(batches_module, "WINDOW_BYTES", request.param)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.usefixtures("window")
def test_every_step_has_the_samples_of_the_definition(layout, labels):
    for world_size in {1, 2, layout.shards} & set(range(1, layout.shards + 1)):
        for rank in range(world_size):
            batches = batches_of_rank(layout, world_size, rank, labels)
            held = held_shards(layout.shards, world_size, rank)
            for epoch in (0, 1):
                batches.start(epoch)
                for step in range(layout.steps):
                    rows = np.concatenate([rows_by_definition(layout, epoch, step, s) for s in held])
                    x, t = batch_of(batches, step)
                    assert (x == np.vstack([np.ones(len(rows)), X[rows].T])).all()
                    assert (t == targets_by_definition(labels, rows)).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_microbatches_are_the_columns_of_their_shards(layout):
    batches = batches_of_rank(layout)
    batches.start(0)
    for step in range(layout.steps):
        x, _ = batch_of(batches, step)
        for shard, _, columns in batches.columns(step):
            assert (x[1:, columns] == X[rows_by_definition(layout, 0, step, shard)].T).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_shards_come_one_by_one_or_side_by_side(layout):
    side_by_side, by_shard = batches_of_rank(layout), batches_of_rank(layout, by_shard=True)
    side_by_side.start(0)
    by_shard.start(0)
    for step in range(layout.steps):
        x, t = batch_of(side_by_side, step)
        xs, ts = by_shard.batch(step)
        assert (np.hstack(xs) == x).all()
        assert (np.hstack(ts) == t).all()
        for (shard, _, columns), (same_shard, block, block_columns) in zip(
            side_by_side.columns(step), by_shard.columns(step), strict=True
        ):
            assert shard == same_shard
            assert (xs[block][:, block_columns] == x[:, columns]).all()
            assert xs[block][:, block_columns].shape == xs[block].shape


@pytest.mark.usefixtures("window")
def test_steps_can_be_asked_for_in_any_order():
    layout = LAYOUTS[1]
    batches = batches_of_rank(layout)
    batches.start(0)
    for step in (5, 0, 9, 4, 5):
        rows = np.concatenate([rows_by_definition(layout, 0, step, s) for s in range(layout.shards)])
        assert (batch_of(batches, step)[0][1:] == X[rows].T).all()


def test_the_same_views_are_bound_once(monkeypatch):
    """If all steps except the last have the same shape, nothing is bound from the second epoch on."""
    layout = Layout(SAMPLES, 8, 16)
    monkeypatch.setattr(batches_module, "WINDOW_BYTES", 2000)  # windows of 4 steps and of 1
    batches, bound = batches_of_rank(layout), []
    batches._bind = lambda *arrays: bound.append(arrays) or arrays
    for epoch in range(3):
        batches.start(epoch)
        for step in range(layout.steps):
            batch_of(batches, step)
    assert len(bound) == layout.steps


def microbatches_of_an_epoch(layout, world_size, epoch=1):
    """Return {(step, shard): augmented samples} of all ranks of a world."""
    microbatches = {}
    for rank in range(world_size):
        batches = batches_of_rank(layout, world_size, rank, augment=("shift", "rotate", "noise"))
        batches.start(epoch)
        for step in range(layout.steps):
            x, _ = batch_of(batches, step)
            for shard, _, columns in batches.columns(step):
                microbatches[step, shard] = x[:, columns].T.tobytes()
    return microbatches


@pytest.mark.parametrize("layout", LAYOUTS[:2], ids=str)
@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_augmented_samples_do_not_depend_on_the_world_size(layout, world_size):
    assert microbatches_of_an_epoch(layout, world_size) == microbatches_of_an_epoch(layout, 1)


@pytest.mark.parametrize("window_bytes", WINDOWS.values(), ids=WINDOWS)
def test_augmented_samples_do_not_depend_on_the_window(monkeypatch, window_bytes):
    expected = microbatches_of_an_epoch(LAYOUTS[0], 2)
    monkeypatch.setattr(batches_module, "WINDOW_BYTES", window_bytes)
    assert microbatches_of_an_epoch(LAYOUTS[0], 2) == expected


def test_augmentation_differs_from_epoch_to_epoch():
    first, second = (microbatches_of_an_epoch(LAYOUTS[2], 1, epoch) for epoch in (0, 1))
    assert set(first.values()).isdisjoint(second.values())


def test_augmentation_keeps_the_ones():
    batches = batches_of_rank(LAYOUTS[0], augment=("shift", "noise"))
    batches.start(0)
    assert all((batch_of(batches, step)[0][0] == 1).all() for step in range(LAYOUTS[0].steps))


def test_samples_are_augmented_from_the_originals_each_time():
    batches = batches_of_rank(LAYOUTS[0], augment=("shift", "rotate", "noise"))
    batches.start(1)
    first = batch_of(batches, 0)[0].copy()
    for epoch in (2, 3, 1):
        batches.start(epoch)
        last = batch_of(batches, 0)[0].copy()
    assert (first == last).all()
