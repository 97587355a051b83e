"""Weights of classes: balanced as in scikit-learn, or from a file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranks import on_ranks
from sklearn.utils.class_weight import compute_class_weight

from nnmpi.data.targets import Targets
from nnmpi.errors import InputError
from nnmpi.training.class_weights import class_weights

LABELS = Targets("one-hot", np.array(["late", "on time", "Zürich"]), 3)
NUMBERS = Targets("one-hot", np.array([-1, 0, 7]), 3)


def weights(setting, targets=LABELS, codes=(0, 1, 2), size=1):
    codes = np.array(codes, np.intp)
    return on_ranks(size, lambda world: class_weights(setting, targets, codes[world.rank :: world.size], world))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(1, 3))
def test_balanced_weights_are_those_of_scikit_learn(codes, size):
    present = np.unique(codes)
    expected = np.ones(3)
    expected[present] = compute_class_weight("balanced", classes=present, y=codes)
    for computed in weights("balanced", codes=codes, size=size):
        np.testing.assert_allclose(computed, expected, rtol=1e-15)


def test_none_is_no_weights():
    assert weights("none") == [None]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "text",
    [
        '{"late": 3.5, "Zürich": 0}',
        '\ufeff{"Zürich": 0, "late": 3.5, "on time": 1}',
        "class,weight\nlate,3.5\nZürich,0\n",
        "late,3.5\r\nZürich,0\r\n\r\non time,1",
        '"late",3.5\n"Zürich",0.0\n',
    ],
)
def test_a_file_gives_weights_by_label_and_the_others_have_one(tmp_path, text, size):
    path = tmp_path / "weights"
    path.write_bytes(text.encode())
    for computed in weights(str(path), size=size):
        assert computed.tolist() == [3.5, 1.0, 0.0]


def test_labels_that_are_numbers_are_written_as_text(tmp_path):
    path = tmp_path / "weights.json"
    path.write_text('{"-1": 2, "7": 0.5}')
    assert weights(str(path), NUMBERS)[0].tolist() == [2.0, 1.0, 0.5]


def test_a_number_in_quotes_is_a_number(tmp_path):
    path = tmp_path / "weights"
    path.write_text('{"late": "3"}')
    assert weights(str(path))[0].tolist() == [3.0, 1.0, 1.0]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"early": 2}', ["no class 'early'", "late, on time, Zürich"]),
        ('{"late": -1}', ["the weight of late is -1", "numbers from 0"]),
        ('{"late": NaN}', ["the weight of late is nan"]),
        ("late,inf", ["the weight of late is inf"]),
        ('{"late": true}', ["the weight of late is True"]),
        ('{"late": 1, "late": 2}', ["names the class late twice"]),
        ("late,1\nlate,2", ["names the class late twice"]),
        ("late", ["write a JSON object"]),
        ("late;3", ["write a JSON object"]),
        ("{", ["write a JSON object"]),
        ('{"late": [1]}', ["the weight of late is [1]"]),
        ("late,1,2", ["write a JSON object"]),
        ("\xff\xfe", ["write a JSON object"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_line(tmp_path, text, words, size):
    path = tmp_path / "weights"
    path.write_bytes(text.encode("latin-1" if "\xff" in text else "utf-8"))
    with pytest.raises(InputError) as refused:
        weights(str(path), size=size)
    assert f"--class-weight {path}" in str(refused.value)
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", ["missing", ".", "\0"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, size):
    with pytest.raises(InputError, match="allowed are none, balanced and the path of a JSON or CSV file"):
        weights(str(tmp_path / name), size=size)


def test_weights_of_classes_are_refused_for_numbers():
    with pytest.raises(InputError, match="is for classes, but the targets are numbers"):
        weights("balanced", Targets("numbers", None, 1))


def test_weights_of_classes_are_refused_for_labels():
    with pytest.raises(InputError, match="is for classes, but the targets are multilabel"):
        weights("balanced", Targets("labels", None, 2, ("a", "b")))
