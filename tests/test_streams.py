"""Streams of random numbers depend on their key (seed, purpose, epoch, step, shard) and on nothing else."""

from itertools import combinations

import numpy as np
import pytest

from nnmpi.data.random_streams import Purpose, stream

KEYS = [(s, p, *position) for s in (0, 1, 2**32 - 1) for p in Purpose for position in np.ndindex(2, 2, 3)]


def first(*key):
    return stream(*key).random(4)


def test_streams_differ_in_every_part_of_the_key():
    drawn = {first(*key).tobytes() for key in KEYS}
    assert len(drawn) == len(KEYS)


@pytest.mark.parametrize(("a", "b"), list(combinations(["epoch", "step", "shard"], 2)))
def test_parts_of_the_key_are_not_added_up(a, b):
    one, other = (stream(0, Purpose.ORDER, **{a: i, b: j}).random() for i, j in ((1, 2), (2, 1)))
    assert one != other


@pytest.mark.parametrize("shift", [1, 2, 100])
def test_long_streams_do_not_run_into_their_neighbours(shift):
    long = stream(0, Purpose.DROPOUT, shard=0).random(10_000)
    assert not np.isin(stream(0, Purpose.DROPOUT, shard=shift).random(1000), long).any()


def test_numbers_do_not_depend_on_the_order_of_calls():
    forwards = {key: first(*key).tobytes() for key in KEYS}
    backwards = {key: first(*key).tobytes() for key in reversed(KEYS)}
    assert forwards == backwards


def test_numbers_do_not_depend_on_global_state():
    before = first(42, Purpose.ORDER, 1, 2, 3)
    np.random.seed(0)  # noqa: NPY002 (the global state is what is tested)
    np.random.random(10)  # noqa: NPY002
    stream(42, Purpose.DROPOUT).random(100)
    assert (first(42, Purpose.ORDER, 1, 2, 3) == before).all()


def test_numbers_are_those_of_philox_with_the_documented_key():
    philox = np.random.Philox(key=np.array([42, Purpose.DROPOUT], np.uint64), counter=np.array([0, 3, 2, 1], np.uint64))
    assert (first(42, Purpose.DROPOUT, 1, 2, 3) == np.random.Generator(philox).random(4)).all()


def test_the_meaning_of_a_seed_never_changes():
    # the format of runs uses these numbers, so a new purpose gets a new number
    assert {p.name: p.value for p in Purpose}.items() >= {
        ("PARAMETERS", 1),
        ("ORDER", 2),
        ("DROPOUT", 3),
        ("AUGMENTATION", 4),
        ("SYNTHETIC", 5),
        ("AUGMENTED_SCALER", 6),
    }


@pytest.mark.parametrize("seed", [2**32 - 1, 2**63, 2**64 - 1])
def test_seeds_use_all_64_bits(seed):
    assert (first(seed, Purpose.ORDER) != first(seed % 2**31, Purpose.ORDER)).all()


@pytest.mark.parametrize("before", [0, 1, 2, 3, 4, 5])
def test_generator_that_is_taken_elsewhere_is_like_a_new_one(before):
    used = stream(7, Purpose.ORDER, 5, 5, 5)
    used.random(before)
    used.integers(10, size=before, dtype=np.uint32)  # the generator may keep half of a number for the next call
    again = stream(42, Purpose.DROPOUT, 1, 2, 3, reuse=used)
    fresh = stream(42, Purpose.DROPOUT, 1, 2, 3)
    assert again is used
    assert (again.integers(10, size=7, dtype=np.uint32) == fresh.integers(10, size=7, dtype=np.uint32)).all()
    assert (again.random(100) == fresh.random(100)).all()
