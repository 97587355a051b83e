"""From labels to codes and to what a network is trained on."""

import numpy as np
import pytest

from nnmpi.data.sources import Source
from nnmpi.data.targets import Encoder, Targets, targets_of
from nnmpi.errors import InputError
from nnmpi.nn.losses import LOSSES


def source(y):
    return Source("table.npz", lambda indices, out: None, len(y), 1, np.asarray(y))


def encoded(targets, codes, capacity=8, dtype=np.float32):
    """The targets of `codes`, in a place that held other ones before."""
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
    ("y", "loss", "kind", "outputs", "meant"),
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
def test_labels_and_loss_make_the_targets(y, loss, kind, outputs, meant):
    targets, found, _ = targets_of(source(y), loss)
    assert (targets.kind, targets.outputs, found) == (kind, outputs, meant)
    assert found in LOSSES


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
