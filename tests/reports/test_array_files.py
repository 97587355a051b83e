"""``.npz`` files as other programs write them: equal numbers are read equally, in any memory layout."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from jobs import Environment, run

from nnmpi.data import npy
from nnmpi.data.sources import open_source, sources_text
from nnmpi.data.sources.arrays import arrays
from nnmpi.errors import InputError

ROWS = 29
X = np.random.default_rng(0).integers(0, 100, (ROWS, 6)).astype(float)
Y = np.arange(ROWS) % 3
LABELS = np.array(["ant", "bee", "ünal"])[Y]


def rows_of(source, rows=None):
    rows = np.arange(ROWS) if rows is None else rows
    out = np.full((len(rows), source.features), np.nan)
    source.read(rows, out)
    return out


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        open_source(str(path))
    assert str(refused.value).startswith(f"--data {path}")
    return str(refused.value)


IMAGES = X.reshape(ROWS, 2, 3)
SAME = {
    "Fortran order": np.asfortranarray(X),
    "a transposed array": np.ascontiguousarray(X.T).T,
    "every second row": np.repeat(X, 2, axis=0)[::2],
    "backwards": X[::-1].copy()[::-1],
    "big-endian": X.astype(">f8"),
    "big-endian in Fortran order": np.asfortranarray(X.astype(">i4")),
    "float16": X.astype(np.float16),
    "extended": X.astype(np.longdouble),
    "unsigned": X.astype(">u2"),
    "images": IMAGES,
    "images in Fortran order": np.asfortranarray(IMAGES),
    "images, columns first": np.ascontiguousarray(IMAGES.transpose(2, 0, 1)).transpose(1, 2, 0),
}


# issue 22, "messages": numpy.savez(X=df.to_numpy()) writes Fortran order
@pytest.mark.parametrize("x", SAME.values(), ids=SAME)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize("bytes_at_once", [8, 100, 1 << 24])
def test_equal_numbers_are_read_alike(tmp_path, monkeypatch, x, save, bytes_at_once):
    monkeypatch.setattr(npy, "BYTES_AT_ONCE", bytes_at_once)
    save(tmp_path / "table.npz", X=x, y=Y)
    source = open_source(str(tmp_path / "table.npz"))
    assert source.dtype.isnative
    assert (rows_of(source) == X).all()
    rows = np.array([28, 3, 3, 0])
    assert (rows_of(source, rows) == X[rows]).all()
    assert (rows_of(arrays(x, Y), rows) == X[rows]).all()


Y_SAME = {
    "bytes": np.char.encode(LABELS, "utf-8"),
    "a column of bytes": np.char.encode(LABELS, "utf-8")[:, None],
    "big-endian strings": LABELS.astype(LABELS.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("y", Y_SAME.values(), ids=Y_SAME)
def test_bytes_are_labels(tmp_path, y):
    np.savez(tmp_path / "table.npz", X=X, y=y)
    assert open_source(str(tmp_path / "table.npz")).y.tolist() == LABELS.tolist()
    assert arrays(X, y).y.tolist() == LABELS.tolist()


KEYS = [("X", "y"), ("x", "y"), ("data", "target"), ("x_train", "y_train"), ("X_train", "y_train"), ("X", "labels")]


@pytest.mark.parametrize(("x_key", "y_key"), KEYS)
def test_usual_names_of_arrays(tmp_path, x_key, y_key):
    np.savez(tmp_path / "table.npz", **{y_key: LABELS, x_key: X, "x_test": X[:3], "y_test": LABELS[:3], "names": "abc"})
    source = open_source(str(tmp_path / "table.npz"))
    assert (rows_of(source) == X).all()
    assert source.y.tolist() == LABELS.tolist()


def test_arrays_without_names(tmp_path):
    np.savez(tmp_path / "table.npz", X, Y)
    assert (open_source(str(tmp_path / "table.npz")).y == Y).all()


REFUSED = {
    "objects": ({"X": X, "y": LABELS.astype(object)}, "y.astype(str)"),
    "object features": ({"X": X.astype(object), "y": Y}, "X.astype(float)"),
    "object labels of other names": ({"data": X, "target": LABELS.astype(object)}, "target.astype(str)"),
    "latin-1": ({"X": X, "y": np.char.encode(LABELS, "latin-1")}, "numpy.char.decode(y, 'latin-1')"),
    "other names": ({"inputs": X, "outputs": Y}, "its arrays are inputs, outputs: save it with numpy.savez(file, X="),
    "one name": ({"X": X, "outputs": Y}, "no array y, its arrays are X, outputs"),
    "one feature": ({"X": X[:, 0], "y": Y}, "X.reshape(-1, 1)"),
    "colour images": ({"X": X.reshape(ROWS, 1, 2, 3), "y": Y}, "X.reshape(len(X), -1)"),
}


@pytest.mark.parametrize(("content", "remedy"), REFUSED.values(), ids=REFUSED)
def test_the_remedy_is_named(tmp_path, content, remedy):
    np.savez(tmp_path / "table.npz", **content)
    assert remedy in refusal(tmp_path / "table.npz")


def test_many_arrays_are_not_all_listed(tmp_path):
    np.savez(tmp_path / "table.npz", **{f"a{i}": X for i in range(30)})
    assert "a9, …:" in refusal(tmp_path / "table.npz")


def test_unknown_names_list_all_forms(tmp_path):
    with pytest.raises(InputError, match="unknown; allowed are digits, iris") as refused:
        open_source("mnist")
    assert sources_text() in str(refused.value)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.in_turn
def test_training_and_refusal_on_ranks(mpi: Environment, tmp_path: Path, ranks: int) -> None:
    np.savez(tmp_path / "fortran.npz", X=np.asfortranarray(X), y=np.char.encode(LABELS, "utf-8"))
    np.savez(tmp_path / "object.npz", X=X, y=LABELS.astype(object))
    run(mpi.nnmpi(ranks, "train", "--data", "fortran.npz", "--epochs", "1"), tmp_path).succeeded()
    done = run(mpi.nnmpi(ranks, "train", "--data", "object.npz"), tmp_path)
    assert done.status == 2
    assert len(done.messages) == 1
    assert "y.astype(str)" in done.messages[0]


def test_threads_parse_headers_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's parser sometimes fails in threads (python/cpython#106905), and the file was called damaged."""
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    parse = np.lib.format.read_array_header_1_0
    parsing: list[int] = []
    most: list[int] = []

    def slow_parse(file):
        parsing.append(0)
        most.append(len(parsing))
        time.sleep(0.01)
        parsing.pop()
        return parse(file)

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", slow_parse)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: open_source(str(tmp_path / "d.npz")), range(8)))
    assert set(most) == {1}
