"""Labels become codes, and codes become the targets of a network."""

import numpy as np
import pytest

from nnmpi.data.sources import Source
from nnmpi.data.targets import Encoder, Targets, targets_of
from nnmpi.errors import InputError
from nnmpi.nn.losses import LOSSES


def source(y):
    return Source("table.npz", lambda indices, out: None, len(y), 1, np.asarray(y))


def encoded(targets, codes, capacity=8, dtype=np.float32):
    """Return the targets of `codes`, written over other targets."""
    encoder = Encoder(targets, capacity, dtype)
    encoder.view(0, capacity).fill(7)
    encoder.encode(codes, encoder.plan([(0, len(codes))]))
    return encoder.view(0, len(codes))


LABELS = {
    "int": np.array([30, -1, 7, 7] * 5),
    "uint8": np.array([30, 1, 7, 7] * 5, np.uint8),
    "float": np.array([30.0, -1.0, 7.0, 7.0] * 5, np.float16),
    "uint64": np.array([2**63 + 1, 2**63, 7, 7] * 5, np.uint64),
    "close": np.array([2**60, 2**60 + 1] * 5),
    "bool": np.array([True, False, False, True]),
    "string": np.array(["zebra", "ant", "", "bee"]),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_codes_are_places_in_the_sorted_classes(y):
    targets, *_ = targets_of(source(y), "auto")
    assert targets.classes.tolist() == sorted(set(y.tolist()))
    assert (targets.classes[targets.codes(y)] == y).all()


def test_one_hot():
    targets, *_ = targets_of(source([5, 3, 9, 3] * 5), "auto")
    codes = targets.codes(np.array([9, 3, 5]))
    assert encoded(targets, codes).T.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_binary():
    targets, *_ = targets_of(source(["no", "yes", "no"]), "binary-cross-entropy")
    codes = targets.codes(np.array(["yes", "no"]))
    assert encoded(targets, codes).tolist() == [[1, 0]]


@pytest.mark.parametrize("y", [np.array([1.5, -2.0, 0.25]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])])
def test_numbers(y):
    targets, *_ = targets_of(source(y), "auto")
    assert encoded(targets, targets.codes(y)).T.tolist() == y.reshape(3, -1).tolist()


@pytest.mark.parametrize(
    ("y", "loss", "kind", "outputs", "expected_loss"),
    [
        ([0, 1, 2] * 5, "auto", "one-hot", 3, "cross-entropy"),
        ([0, 1, 2] * 4, "auto", "numbers", 1, "mse"),
        ([0, 1, 2], "cross-entropy", "one-hot", 3, "cross-entropy"),
        ([0, 1, 2] * 5, "mse", "one-hot", 3, "mse"),
        ([0, 1] * 5, "auto", "one-hot", 2, "cross-entropy"),
        ([0.0, 1.0] * 5, "auto", "one-hot", 2, "cross-entropy"),
        ([[0], [1]] * 5, "auto", "one-hot", 2, "cross-entropy"),
        ([0, 1], "binary-cross-entropy", "binary", 1, "binary-cross-entropy"),
        ([0.0, 1.0], "auto", "numbers", 1, "mse"),
        ([0.0, 1.0], "mse", "numbers", 1, "mse"),
        ([[0.0, 1.0]], "auto", "numbers", 2, "mse"),
        ([[0.0, 1.0]] * 9, "auto", "numbers", 2, "mse"),
        ([[0.0, 1.0], [1.0, 1.0]] * 5, "auto", "labels", 2, "binary-cross-entropy"),
        ([[0, 1], [1, 1]] * 5, "auto", "labels", 2, "binary-cross-entropy"),
        ([[False, True, True]], "auto", "labels", 3, "binary-cross-entropy"),
        ([[0.0, 1.0]], "binary-cross-entropy", "labels", 2, "binary-cross-entropy"),
        ([[0.0, 1.0], [1.0, 1.0]] * 5, "mse", "numbers", 2, "mse"),
        ([[0.0, 1.0], [1.0, 2.0]] * 5, "auto", "numbers", 2, "mse"),
    ],
)
def test_labels_and_loss_make_the_targets(y, loss, kind, outputs, expected_loss):
    targets, chosen_loss, _ = targets_of(source(y), loss)
    assert (targets.kind, targets.outputs, chosen_loss) == (kind, outputs, expected_loss)
    assert chosen_loss in LOSSES


@pytest.mark.parametrize("loss", ["cross-entropy", "binary-cross-entropy"])
def test_numbers_are_no_classes(loss):
    with pytest.raises(InputError, match=rf"--loss {loss} needs classes.*table.npz.*--loss mse"):
        targets_of(source([0.5, 1.5]), loss)


def test_binary_is_for_two_classes():
    with pytest.raises(InputError, match=r"2 classes.*has 3.*--loss cross-entropy"):
        targets_of(source([0, 1, 2]), "binary-cross-entropy")


@pytest.mark.parametrize("loss", ["auto", *LOSSES])
def test_one_class_is_not_enough(loss):
    with pytest.raises(InputError, match="one class, 4; at least 2"):
        targets_of(source([4] * 5), loss)


KNOWN = {"numbers": np.array([1, 3]), "strings": np.array(["bee", "cat"])}


@pytest.mark.parametrize(
    ("known", "y", "unknown"),
    [
        ("numbers", [3, 2], "2"),
        ("numbers", [0], "0"),
        ("numbers", [99], "99"),
        ("strings", ["ant"], "ant"),
        ("strings", ["cat", "zebra"], "zebra"),
        ("strings", ["bees"], "bees"),
    ],
)
def test_unknown_class_is_named_with_those_known(known, y, unknown):
    targets = Targets("one-hot", KNOWN[known], 2)
    with pytest.raises(InputError, match=rf"class .*{unknown}.* the model knows {KNOWN[known][0]}, {KNOWN[known][1]}"):
        targets.codes(np.array(y))


def test_many_known_classes_are_not_all_listed():
    targets = Targets("one-hot", np.arange(1000), 1000)
    with pytest.raises(InputError, match=r"0, 1, .*\(1000 in all\): remove"):
        targets.codes(np.array([1000]))


@pytest.mark.parametrize(("known", "y"), [("numbers", ["1"]), ("numbers", [1.5]), ("strings", [1]), ("strings", [1.0])])
def test_classes_of_another_kind_are_refused(known, y):
    with pytest.raises(InputError, match="model knows classes such as"):
        Targets("one-hot", KNOWN[known], 2).codes(np.array(y))


@pytest.mark.parametrize("y", [["a", "b"], [[1.0, 2.0], [3.0, 4.0]]], ids=["string", "two"])
def test_other_targets_than_one_number_are_refused(y):
    with pytest.raises(InputError, match=r"predicts 1 number"):
        Targets("numbers", None, 1).codes(np.array(y))


@pytest.mark.parametrize("y", [np.array(list("abcdabcda")), np.column_stack([np.arange(9.0), -np.arange(9.0)])])
def test_each_block_is_a_contiguous_array_of_its_own(y):
    targets, *_ = targets_of(source(y), "auto")
    codes, encoder = targets.codes(y), Encoder(targets, 10, np.float32)
    for blocks in ([(0, 3), (3, 3), (3, 7)], [(0, 3), (3, 3), (3, 7)], [(0, 9)], [(0, 1), (1, 9)]):
        encoder.encode(codes[: blocks[-1][1]], encoder.plan(blocks))
        for a, b in blocks:
            block = encoder.view(a, b)
            assert block.flags.c_contiguous
            assert block.T.tolist() == (np.eye(4)[codes[a:b]] if y.ndim == 1 else codes[a:b]).tolist()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_to_predict_that_is_not_finite_is_named_with_its_row(number):
    with pytest.raises(InputError, match=rf"table.npz: y of row 2 \(from 0\) is {number}; remove"):
        targets_of(source([0.5, 1.5, number]), "auto")


ROUNDED = {
    "float64": np.array([2.0**53, 2.0**53 + 2] * 5),
    "beyond int64": np.array([2.0**63, 2.0**64] * 5),
    "negative": np.array([-(2.0**53), 1] * 5),
    "float32": np.array([2**24, 2**24 + 2] * 5, np.float32),
    "float16": np.array([2048, 2050] * 5, np.float16),
}


@pytest.mark.parametrize("y", ROUNDED.values(), ids=ROUNDED)
def test_labels_that_floating_point_may_have_made_equal_are_refused(y):
    message = rf"table.npz holds whole numbers such as .* in {y.dtype}, which rounds .*as text or as int64"
    with pytest.raises(InputError, match=message):
        targets_of(source(y), "auto")
    for few, loss, task in ((y[:2], "auto", "classification"), (y[:2], "cross-entropy", "auto")):
        with pytest.raises(InputError, match=message):
            targets_of(source(few), loss, task)
    with pytest.raises(InputError, match=r"y of the data holds .* as they were in training"):
        Targets("one-hot", np.array([1, 2**24, 2**53]), 3).codes(y)
    for numbers, task in ((y, "regression"), (y[:2], "auto"), (np.append(y, 0.5), "auto")):
        targets, *_ = targets_of(source(numbers), "auto", task)
        assert targets.kind == "numbers"


def test_exact_labels_in_floating_point_are_classes():
    for labels in (np.array([2.0**53 - 1, 2.0**53 - 2] * 5), np.array([2**24 - 1, 1 - 2**24] * 5, np.float32)):
        targets, *_ = targets_of(source(labels), "auto")
        assert targets.classes.tolist() == sorted(set(labels.tolist()))


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16, np.float64])
def test_equal_targets_are_treated_alike_in_all_types(dtype):
    with pytest.raises(InputError, match="one class, 7; at least 2"):
        targets_of(source(np.full(5, 7, dtype)), "auto")
    for y, task in ((np.full(4, 7, dtype), "auto"), (np.full(5, 7, dtype), "regression")):
        targets, _, reason = targets_of(source(y), "auto", task)
        assert targets.kind == "numbers"
        assert reason.endswith("; all are equal")


def test_equal_numbers_are_noted():
    for y in (np.full(9, 0.5), np.full((9, 3), 0.5)):
        assert targets_of(source(y), "auto")[2].endswith("; all are equal")
    assert "equal" not in targets_of(source(np.append(np.full(9, 0.5), 1)), "auto")[2]
