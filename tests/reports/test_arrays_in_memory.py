"""Arrays from Python: what an array would lose or change is taken exactly, or refused."""

# masked arrays, sparse matrices, NumPy's strings and lists with missing values, as users pass them

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_array, csr_matrix

import nnmpi
from nnmpi.errors import InputError

G = np.random.default_rng(7)
X = G.standard_normal((60, 3))
CODES = (X[:, 0] > 0).astype(int)
TEXTS = np.array(["no", "yes"])[CODES]
SMALL = {"hidden": (4,), "epochs": 1}


def masked(values, row=5):
    array = np.ma.array(values)
    array[row] = np.ma.masked
    return array


def objects(values):
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


REFUSED = {
    "masked X": ({"data": masked(X)}, "X has masked values: fill them in with its method filled()"),
    "masked y": ({"y": masked(CODES)}, "y has masked values"),
    "masked weights": ({"sample_weight": masked(np.ones(60))}, "sample_weight has masked values"),
    "sparse X": ({"data": csr_matrix(X)}, "X is a sparse matrix: use its method toarray()"),
    "sparse array": ({"data": csc_array(X)}, "X is a sparse matrix"),
    "NaN among texts": ({"y": [np.nan, *TEXTS[1:].tolist()]}, "y is missing a value in row 0"),
    "None among texts": ({"y": [None, *TEXTS[1:].tolist()]}, "y is missing a value in row 0"),
    "number among texts": ({"y": [1, *TEXTS[1:].tolist()]}, r"different types \(int, str\)"),
    "missing in a column": ({"y": pd.Series([None, *TEXTS[1:]], dtype="string")}, "y is missing a value in row 0"),
    "missing in a frame's target": (
        {"data": pd.DataFrame(X), "y": [None, *TEXTS[1:].tolist()]},
        "y is missing a value in row 0",
    ),
    "durations": ({"y": objects(CODES.astype("m8[s]"))}, "must hold a class"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name):
    arguments, words = REFUSED[name]
    arguments = {"data": X, "y": CODES, **arguments}
    with pytest.raises(InputError, match=words):
        nnmpi.train(**arguments, **SMALL)


LABELS = {
    "nothing masked": np.ma.array(CODES),
    "NumPy's strings": TEXTS.astype(np.dtypes.StringDType()),
    "objects of NumPy's strings": objects(TEXTS),
    "objects of NumPy's numbers": objects(CODES.astype(np.int16)),
    "objects of NumPy's booleans": objects(CODES.astype(bool)),
    "list of texts": TEXTS.tolist(),
    "numbers of several types": objects([int(code) if i % 2 else np.float32(code) for i, code in enumerate(CODES)]),
}


@pytest.mark.parametrize("name", LABELS)
def test_it_is_taken_as_it_is(name):
    expected = TEXTS if "str" in name or "text" in name else CODES
    model = nnmpi.train(X, LABELS[name], **SMALL).model
    np.testing.assert_array_equal(model.parameters, nnmpi.train(X, expected, **SMALL).model.parameters)
    assert model.classes.tolist() == np.unique(expected).tolist()


@pytest.mark.parametrize("container", [lambda y: y, pd.DataFrame], ids=["column", "frame"])
def test_categories_are_classes(container):
    few_rows_each = pd.Series(np.arange(60) // 2).astype("category")
    assert len(nnmpi.train(X, container(few_rows_each), **SMALL).model.classes) == 30


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (masked(X), "X has masked values"),
        (csr_matrix(X), "X is a sparse matrix"),
        (X + 1j, "real numbers, and its type is complex128"),
        (np.zeros((2, 3), "M8[D]"), "real numbers"),
        (X.astype(str), "use X.astype"),
    ],
)
def test_a_trained_network_refuses_it(samples, words):
    model = nnmpi.train(X, CODES, **SMALL).model
    with pytest.raises(ValueError, match=words):
        model.predict(samples)
    assert (model.predict(np.ma.array(X)) == model.predict(X)).all()
