"""The samples of each step, compared with the definition position by position."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnmpi.data.random_streams import Purpose, stream
from nnmpi.data.shards import EpochOrder, Layout, default_shards, held_shards, shard_rows

SEED = 3
search = settings(max_examples=80, deadline=None, derandomize=True)


@st.composite
def layouts(draw):
    """Layouts that ``train`` accepts: the batch size is at most the number of samples."""
    samples = draw(st.integers(1, 120))
    batch_size = draw(st.integers(1, samples))
    return Layout(samples, draw(st.integers(1, 13)), batch_size)


def order_in_shard(layout, shard, epoch):
    size = len(range(shard, layout.samples, layout.shards))
    return stream(SEED, Purpose.ORDER, epoch, shard=shard).permutation(size)


def microbatches_by_definition(layout, epoch):
    """Return {(step, shard): rows}, built position by position from the rows 0, 1, … of the training part."""
    rows = [shard_rows(np.arange(layout.samples), layout.shards, s) for s in range(layout.shards)]
    orders = [order_in_shard(layout, s, epoch) for s in range(layout.shards)]
    taken = {(t, s): [] for t in range(layout.steps) for s in range(layout.shards)}
    for p in range(layout.samples):
        shard, index = p % layout.shards, p // layout.shards
        taken[p // layout.batch_size, shard].append(int(rows[shard][orders[shard][index]]))
    return taken


def microbatches_of_a_world(layout, world_size, epoch):
    """Return the same, built from the order that each rank of a world uses."""
    taken = {}
    for rank in range(world_size):
        held = held_shards(layout.shards, world_size, rank)
        rows = np.concatenate([shard_rows(np.arange(layout.samples), layout.shards, s) for s in held])
        order = EpochOrder(layout, held, SEED)
        order.start(epoch)
        for step, bounds in enumerate(order.bounds.tolist()):
            for shard, (a, b) in zip(held, pairwise(bounds), strict=True):
                taken[step, shard] = rows[order.order[a:b]].tolist()
    return taken


@given(layout=layouts(), epoch=st.integers(0, 3), data=st.data())
@search
def test_a_world_of_any_size_takes_the_samples_of_the_definition(layout, epoch, data):
    world_size = data.draw(st.integers(1, layout.shards))
    assert microbatches_of_a_world(layout, world_size, epoch) == microbatches_by_definition(layout, epoch)


@given(layout=layouts(), data=st.data())
@search
def test_an_epoch_takes_every_sample_once(layout, data):
    taken = microbatches_of_a_world(layout, data.draw(st.integers(1, layout.shards)), 0)
    assert sorted(row for rows in taken.values() for row in rows) == list(range(layout.samples))


@given(layout=layouts(), data=st.data())
@search
def test_every_step_has_the_batch_size_and_only_the_last_is_smaller(layout, data):
    taken = microbatches_of_a_world(layout, data.draw(st.integers(1, layout.shards)), 0)
    sizes = [sum(len(taken[t, s]) for s in range(layout.shards)) for t in range(layout.steps)]
    assert sizes[:-1] == [layout.batch_size] * (layout.steps - 1)
    assert sizes[-1] == layout.samples - (layout.steps - 1) * layout.batch_size


@given(layout=layouts())
@search
def test_microbatches_of_a_step_differ_by_one_sample_at_most(layout):
    sizes = np.array([np.diff(layout.starts(s)) for s in range(layout.shards)])
    assert np.ptp(sizes, axis=0).max() <= 1


def test_one_shard_is_single_process_training():
    rows = microbatches_of_a_world(Layout(10, 1, 4), 1, 0)
    order = order_in_shard(Layout(10, 1, 4), 0, 0).tolist()
    assert rows == {(0, 0): order[:4], (1, 0): order[4:8], (2, 0): order[8:]}


def test_a_worked_example():
    # 7 samples, 3 shards, batches of 5: positions 0 1 2 3 4 | 5 6 belong to shards 0 1 2 0 1 | 2 0
    layout = Layout(7, 3, 5)
    assert [np.diff(layout.starts(s)).tolist() for s in range(3)] == [[2, 1], [2, 0], [1, 1]]


def test_epochs_have_different_orders():
    orders = {tuple(map(tuple, microbatches_of_a_world(Layout(64, 4, 16), 2, e).values())) for e in range(5)}
    assert len(orders) == 5


def test_shards_have_different_orders():
    layout = Layout(64, 4, 64)
    taken = microbatches_of_a_world(layout, 1, 0)
    inside = {tuple(row - 16 * s for row in taken[0, s]) for s in range(4)}
    assert len(inside) == 4


def test_an_epoch_can_be_started_again():
    order = EpochOrder(Layout(50, 4, 8), range(4), SEED)
    order.start(1)
    first = order.order.copy()
    order.start(2)
    order.start(1)
    assert (order.order == first).all()


@given(shards=st.integers(1, 200), data=st.data())
@search
def test_ranks_hold_contiguous_runs_that_cover_all_shards(shards, data):
    world_size = data.draw(st.integers(1, shards))
    held = [held_shards(shards, world_size, rank) for rank in range(world_size)]
    assert [s for run in held for s in run] == list(range(shards))
    assert max(map(len, held)) - min(map(len, held)) <= 1


@given(n=st.integers(0, 300), shards=st.integers(1, 40))
@search
def test_shards_are_contiguous_runs_of_the_part(n, shards):
    rows = np.random.default_rng(0).permutation(n)
    parts = [shard_rows(rows, shards, s) for s in range(shards)]
    assert np.concatenate(parts).tolist() == rows.tolist()
    assert [len(part) for part in parts] == [n // shards + (s < n % shards) for s in range(shards)]


@given(layout=layouts())
@search
def test_shards_hold_as_many_samples_as_an_epoch_takes_from_them(layout):
    rows = np.arange(layout.samples)
    assert all(
        len(shard_rows(rows, layout.shards, s)) == layout.starts(s)[-1] == len(range(s, layout.samples, layout.shards))
        for s in range(layout.shards)
    )


@pytest.mark.parametrize(
    ("world_size", "shards"), [(1, 8), (2, 8), (7, 8), (8, 8), (9, 16), (16, 16), (17, 32), (1000, 1024)]
)
def test_default_shards(world_size, shards):
    assert default_shards(world_size) == shards
