"""The split is scikit-learn's; a rank reads only the rows of its shards."""

import numpy as np
import pytest
from parts import load_part
from sklearn.model_selection import train_test_split

from nnmpi.data.parts import split
from nnmpi.data.sources import open_source
from nnmpi.data.targets import targets_of
from nnmpi.errors import InputError

DIGITS, IRIS = open_source("digits"), open_source("iris")


def table(directory, x, y):
    np.savez(directory / "table.npz", X=x, y=y)
    return open_source(str(directory / "table.npz"))


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
@pytest.mark.parametrize("stratify", [False, True])
def test_test_part_is_that_of_scikit_learn(seed, stratify):
    training, test = train_test_split(
        np.arange(150), test_size=0.2, random_state=seed, stratify=IRIS.y if stratify else None
    )
    parts = split(IRIS, 0.2, 0.0, seed, stratify)
    assert (parts.training == training).all()
    assert (parts.test == test).all()
    assert len(parts.validation) == 0


@pytest.mark.parametrize("size", [2, 3, 10, 17, 1000, 4099])
@pytest.mark.parametrize(("test", "validation"), [(0.2, 0.1), (0.1, 0.3), (0.333, 0.5), (0.07, 0.07)])
def test_parts_are_those_of_scikit_learn_at_any_size(size, test, validation):
    rest, expected_test = train_test_split(np.arange(size), test_size=test, random_state=3)
    if len(rest) < 2:
        pytest.skip("no validation part")
    training, expected_validation = train_test_split(rest, test_size=validation, random_state=3)
    parts = split(open_source(f"random:{size}x1x2"), test, validation, 3, False)
    assert (parts.training == training).all()
    assert (parts.validation == expected_validation).all()
    assert (parts.test == expected_test).all()


@pytest.mark.parametrize("stratify", [False, True])
def test_parts_are_disjoint_and_complete(stratify):
    parts = split(DIGITS, 0.2, 0.1, 1, stratify)
    rows = np.concatenate([parts.training, parts.validation, parts.test])
    assert sorted(rows.tolist()) == list(range(DIGITS.size))


def test_validation_part_is_drawn_from_the_training_part():
    without, with_validation = (split(DIGITS, 0.2, fraction, 1, False) for fraction in (0.0, 0.1))
    assert (without.test == with_validation.test).all()
    assert len(with_validation.validation) == -(-len(without.training) // 10)  # rounded up, as scikit-learn does


def test_stratified_parts_keep_the_shares_of_the_classes():
    parts = split(IRIS, 0.2, 0.25, 7, True)
    counts = [np.bincount(IRIS.y[rows]).tolist() for rows in (parts.training, parts.validation, parts.test)]
    assert counts == [[30] * 3, [10] * 3, [10] * 3]


def test_seeds_draw_different_parts():
    assert (split(IRIS, 0.2, 0, 1, False).test != split(IRIS, 0.2, 0, 2, False).test).any()


def test_a_class_too_rare_to_stratify_is_told(tmp_path):
    source = table(tmp_path, np.zeros((10, 1)), [0] * 9 + [1])
    with pytest.raises(InputError, match=r"--stratify needs at least 2 .*table.npz has 1 of class 1: leave out"):
        split(source, 0.2, 0.0, 0, True)


@pytest.mark.parametrize(("test_fraction", "validation_fraction"), [(0.99999, 0.0), (0.9, 0.999)])
def test_a_part_that_would_be_empty_is_told(test_fraction, validation_fraction):
    source = open_source("random:12x2x2")
    with pytest.raises(InputError, match=f"--test-fraction {test_fraction}"):
        split(source, test_fraction, validation_fraction, 0, False)


# the rows that a rank reads


@pytest.mark.parametrize("held", [range(0, 7), range(2, 5), range(6, 7)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_rank_reads_the_rows_of_its_shards(held, dtype):
    rows = np.random.default_rng(0).permutation(150)[:100]
    part = load_part(IRIS, rows, 7, held, targets_of(IRIS, "auto")[0], dtype)
    expected_rows = np.concatenate([np.array_split(rows, 7)[s] for s in held])
    everything = np.empty((150, 4))
    IRIS.read(np.arange(150), everything)
    assert part.x.dtype == dtype
    assert (part.x[:, 0] == 1).all()
    assert (part.x[:, 1:] == everything[expected_rows].astype(dtype)).all()
    assert (part.y == IRIS.y[expected_rows]).all()
    assert part.sizes == [len(np.array_split(rows, 7)[s]) for s in held]


def test_shards_of_a_part_cover_it_in_order():
    part = load_part(IRIS, np.arange(20), 8, range(2, 8), None, "float32")
    rows = [i for samples in part.shards() for i in range(*samples.indices(len(part.x)))]
    assert rows == list(range(len(part.x)))
    assert [s.stop - s.start for s in part.shards()] == part.sizes


def test_more_shards_than_rows_leave_some_empty():
    part = load_part(IRIS, np.arange(3), 8, range(8), None, "float32")
    assert part.sizes == [1, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("row", "feature", "number", "shown"),
    [
        (0, 0, np.nan, "nan"),
        (2999, 2, np.inf, "inf"),
        (1700, 1, -np.inf, "-inf"),
        (5, 1, 1e39, "1e.39, .*float32"),
    ],
)
def test_a_number_that_is_not_finite_is_reported_with_its_place(tmp_path, row, feature, number, shown):
    x = np.zeros((3000, 3))
    x[row, feature] = number
    rows = np.random.default_rng(0).permutation(3000)
    with pytest.raises(InputError, match=rf"table.npz: row {row}, feature {feature} \(both from 0\) is {shown}"):
        load_part(table(tmp_path, x, np.zeros(3000)), rows, 8, range(8), None, "float32")


@pytest.mark.parametrize("row", [0, 1023, 1024, 2047, 2999])
def test_every_row_is_looked_at(tmp_path, row):
    x = np.zeros((3000, 1))
    x[row] = np.nan
    with pytest.raises(InputError, match=f"row {row}, feature 0"):
        load_part(table(tmp_path, x, np.zeros(3000)), np.arange(3000), 8, range(8), None, "float32")


def test_numbers_too_large_for_float32_are_read_as_float64(tmp_path):
    x = np.full((8, 1), 1e39)
    part = load_part(table(tmp_path, x, np.zeros(8)), np.arange(8), 8, range(8), None, "float64")
    assert (part.x[:, 1] == 1e39).all()


def test_rows_of_others_are_not_looked_at(tmp_path):
    x = np.zeros((8, 1))
    x[7] = np.nan
    part = load_part(table(tmp_path, x, np.zeros(8)), np.arange(8), 8, range(0, 7), None, "float32")
    assert len(part.x) == 7
