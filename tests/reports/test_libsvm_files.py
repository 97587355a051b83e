"""libsvm files leave zeros out and count from 0 or 1: what another file counts from is never guessed."""

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

import nnmpi
from nnmpi.data.sources import open_source
from nnmpi.errors import InputError

FEATURES = 5
X = np.random.default_rng(0).integers(1, 9, (60, FEATURES)) * 0.25
Y = np.arange(60) % 2


def write(path, x, first_index):
    dump_svmlight_file(x, Y[: len(x)], str(path), zero_based=first_index == 0)
    return str(path)


def without(*columns):
    x = X.copy()
    x[:, columns] = 0
    return x


def read(name, first_index):
    source = open_source(name, features=FEATURES, first_index=first_index)
    out = np.empty((source.size, source.features))
    source.read(np.arange(source.size), out)
    return out


def follow(path, remedy):
    """Write what the message says to the first line of the file."""
    first, *others = path.read_text().splitlines()
    label, _, pairs = first.partition(" ")
    first = f"{label} 0:0 {pairs}" if remedy == "0:0 behind" else f"{first} {remedy.split()[0]}"
    path.write_text("\n".join([first, *others]))


@pytest.mark.parametrize("expected", [0, 1, None])
@pytest.mark.parametrize("first_index", [0, 1])
@pytest.mark.parametrize("missing", [(), (0,), (FEATURES - 1,), (0, FEATURES - 1)], ids=str)
def test_no_feature_is_shifted(tmp_path, expected, first_index, missing):
    """Each file is read as it was written, or refused; where it counts as the training data, the remedy works."""
    path = tmp_path / "other.svm"
    x = without(*missing)
    name = write(path, x, first_index)
    as_expected = expected in (None, first_index)
    if as_expected and (FEATURES - 1 if first_index else 0) not in missing:
        assert (read(name, expected) == x).all()
        return
    with pytest.raises(InputError) as refused:
        read(name, expected)
    if not as_expected:
        assert "all indices by 1" in str(refused.value)
        return
    remedy = f"{FEATURES}:0 at the end" if first_index else "0:0 behind"
    assert remedy in str(refused.value)
    follow(path, remedy)
    assert (read(name, expected) == x).all()


def test_a_feature_that_the_training_data_lack_is_named(tmp_path):
    name = write(tmp_path / "more.svm", np.hstack([X, X]), 1)
    with pytest.raises(InputError, match="has index 10, but the 5 features of the training data end at index 5"):
        read(name, 1)


def test_rows_of_zeros_have_all_features(tmp_path):
    (tmp_path / "zeros.svm").write_text("1\n0\n")
    assert (read(str(tmp_path / "zeros.svm"), 1) == np.zeros((2, FEATURES))).all()


def test_test_data_must_count_as_the_training_data(tmp_path):
    data = write(tmp_path / "a.svm", X, 1)
    other = write(tmp_path / "b.svm", X, 0)
    with pytest.raises(InputError, match=r"^test_data \S+b.svm: has index 0, but"):
        nnmpi.train(data, test_data=other, epochs=1)


def test_the_model_keeps_what_its_data_counted_from(nnmpi, tmp_path):
    write(tmp_path / "a.svm", without(0), 0)  # no index 0: counts from 1
    nnmpi("train", "a.svm", "--epochs", "1", "--output", "m", cwd=tmp_path).succeeded()
    write(tmp_path / "b.svm", without(4), 0)
    refused = nnmpi("predict", "m", "b.svm", cwd=tmp_path)
    assert refused.status == 2
    assert "has index 0, but the features of the training data count from 1" in refused.messages[0]
    write(tmp_path / "c.svm", without(0), 0)
    assert len(nnmpi("predict", "m", "c.svm", cwd=tmp_path).succeeded().out.split()) == len(X)
