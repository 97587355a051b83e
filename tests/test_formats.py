"""Formats of arrays: the same numbers give the same samples, and errors are one line."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from nnmpi.data import npy
from nnmpi.data.sources import SOURCES, open_source
from nnmpi.errors import InputError

h5py = pytest.importorskip("h5py")

ROWS = 31
X = np.random.default_rng(0).integers(0, 200, (ROWS, 12)).astype(float)
Y = np.arange(ROWS) % 3
IMAGES = X.reshape(ROWS, 3, 4).astype(np.uint8)


def idx(array: np.ndarray, code: int) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_npy(path: Path, x=X, y=Y) -> str:
    np.save(path / "X.npy", x)
    np.save(path / "y.npy", y)
    return str(path / "X.npy")


def write_named_npy(path: Path) -> str:
    np.save(path / "flights_X.npy", np.asfortranarray(X))
    np.save(path / "flights_y.npy", Y[:, None])
    return str(path / "flights_X.npy")


def write_directory(path: Path) -> str:
    np.save(path / "x_train.npy", IMAGES)
    np.save(path / "y_train.npy", Y)
    np.save(path / "x_test.npy", IMAGES[:2])
    return str(path)


def write_hdf5(path: Path, **options) -> str:
    with h5py.File(path / "table.h5", "w") as file:
        file.create_dataset("X", data=X.astype(">f4"), **options)
        file.create_dataset("y", data=Y)
    return str(path / "table.h5")


def write_hdf5_groups(path: Path) -> str:
    with h5py.File(path / "table.hdf5", "w") as file:
        file.create_dataset("run/images", data=IMAGES, chunks=(7, 3, 4), compression="gzip")
        file.create_dataset("run/labels", data=Y.astype(np.int8))
    return str(path / "table.hdf5") + "::run/images,run/labels"


def write_svm(path: Path, name: str = "table.svm") -> str:
    dump_svmlight_file(X, Y, str(path / name))
    return str(path / name)


def write_idx(path: Path) -> str:
    (path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES, 8))
    (path / "train-labels-idx1-ubyte").write_bytes(idx(Y.astype(np.uint8), 8))
    return str(path / "train-images-idx3-ubyte")


def write_idx_gz(path: Path) -> str:
    (path / "t10k-images.idx3.ubyte.gz").write_bytes(gzip.compress(idx(IMAGES.astype(np.int16), 0x0B)))
    (path / "t10k-labels.idx1.ubyte.gz").write_bytes(gzip.compress(idx(Y.astype(np.uint8), 8)))
    return str(path / "t10k-images.idx3.ubyte.gz")


FORMATS = {
    "npy": write_npy,
    "npy of another name, Fortran order": write_named_npy,
    "directory": write_directory,
    "HDF5": write_hdf5,
    "HDF5 in chunks": lambda path: write_hdf5(path, chunks=(4, 5), compression="gzip"),
    "HDF5 with names": write_hdf5_groups,
    "svm": write_svm,
    "libsvm": lambda path: write_svm(path, "table.libsvm"),
    "IDX": write_idx,
    "IDX, gzipped": write_idx_gz,
}


def rows_of(source, rows):
    out = np.full((len(rows), source.features), 77, source.dtype)
    source.read(np.asarray(rows, np.intp), out)
    return out


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("bytes_at_once", [1, 500, 1 << 24])
def test_any_rows_of_any_format(tmp_path, monkeypatch, write, bytes_at_once):
    monkeypatch.setattr(npy, "BYTES_AT_ONCE", bytes_at_once)
    source = open_source(write(tmp_path))
    assert (source.size, source.features) == X.shape
    assert source.dtype.isnative
    assert (source.y == Y).all()
    for rows in (range(ROWS), [30, 2, 2, 0], [ROWS - 1], [], np.random.default_rng(1).permutation(ROWS)):
        assert (rows_of(source, rows) == X[list(rows)]).all()


@pytest.mark.parametrize("write", [write_directory, write_hdf5_groups, write_idx, write_idx_gz])
def test_images_have_a_shape(tmp_path, write):
    assert open_source(write(tmp_path)).image == (3, 4)


@pytest.mark.parametrize("write", [write_npy, write_hdf5, write_idx])
def test_features_alone_are_enough_to_predict(tmp_path, write):
    name = write(tmp_path)
    for path in [*tmp_path.glob("y.npy"), *tmp_path.glob("*labels*")]:
        path.unlink()
    if write is write_hdf5:
        name += "::X"
    with pytest.raises(InputError):
        open_source(name)
    source = open_source(name, targets=False)
    assert source.y is None
    assert (rows_of(source, [3]) == X[[3]]).all()


@pytest.mark.parametrize("labels", [["ant", "bee", "ünal"], [b"ant", b"bee", "ünal".encode()]])
def test_hdf5_labels_may_be_text(tmp_path, labels):
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["X"] = X
        file["y"] = [labels[i] for i in Y]
    assert open_source(str(tmp_path / "table.h5")).y.tolist() == [["ant", "bee", "ünal"][i] for i in Y]


def damaged(write, change):
    def damage(path: Path) -> str:
        name = write(path)
        change(path)
        return name

    return damage


def cut(name: str, size: int = -5):
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:size])


def put(name: str, content: bytes):
    return lambda path: (path / name).write_bytes(content)


def two_formats(path: Path) -> str:
    write_npy(path)
    (path / "y.npy").unlink()
    return str(path)


REFUSED = {
    "npy cut off": (damaged(write_npy, cut("X.npy")), "cannot be read"),
    "npy with another y": (damaged(write_npy, lambda path: np.save(path / "y.npy", Y[1:])), "each of the 31 rows"),
    "npy of objects": (lambda path: write_npy(path, y=Y.astype(object)), "y.astype(str)"),
    "npy without y": (damaged(write_npy, lambda path: (path / "y.npy").unlink()), "no y.npy beside it"),
    "npy that is text": (damaged(write_npy, put("X.npy", b"1,2,3\n")), "cannot be read"),
    "directory without y": (two_formats, "no array y, its arrays are X"),
    "empty directory": (str, "this one has no such files"),
    "HDF5 cut off": (damaged(write_hdf5, cut("table.h5", 900)), "cannot be read"),
    "HDF5 that is text": (damaged(write_hdf5, put("table.h5", b"1,2,3\n")), "cannot be read"),
    "HDF5 with unknown names": (lambda path: write_hdf5(path) + "::a,b", "the datasets of the file are: X, y"),
    "HDF5 with one name": (lambda path: write_hdf5(path) + "::X", "table.h5::features,labels"),
    "HDF5 with groups": (lambda path: write_hdf5_groups(path).partition("::")[0], "run/images, run/labels"),
    "svm that is a table": (damaged(write_svm, put("table.svm", b"a,b\n1,2\n")), "LABEL INDEX:VALUE"),
    "svm, empty": (damaged(write_svm, put("table.svm", b"")), "table.svm"),
    "svm with many labels": (damaged(write_svm, put("table.svm", b"1,2 3:4\n")), "LABEL INDEX:VALUE"),
    "IDX cut off": (damaged(write_idx, cut("train-images-idx3-ubyte")), "but its header says"),
    "IDX, gzip cut off": (damaged(write_idx_gz, cut("t10k-images.idx3.ubyte.gz", 7)), "cannot be read"),
    "IDX without labels": (damaged(write_idx, lambda p: (p / "train-labels-idx1-ubyte").unlink()), "labels-idx1"),
    "IDX of labels": (
        lambda path: write_idx(path).replace("images-idx3", "labels-idx1"),
        "pass the file of images, train-",
    ),
    "IDX that is text": (damaged(write_idx, put("train-images-idx3-ubyte", b"1,2,3\n")), "not those of an IDX file"),
}


@pytest.mark.parametrize(("write", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said_in_one_line(tmp_path, write, words):
    name = write(tmp_path)
    with pytest.raises(InputError) as refused:
        open_source(name)
    assert str(refused.value).startswith(f"--data {name}: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("write", [write_npy, write_hdf5, write_idx, write_idx_gz])
def test_a_file_that_changes_is_named(tmp_path, write):
    source = open_source(write(tmp_path))
    smaller = tmp_path / "smaller"
    smaller.mkdir()
    global X, IMAGES
    before = X, IMAGES
    try:
        X, IMAGES = X[:20], IMAGES[:20]
        write(smaller)
        write_npy(smaller, X)
    finally:
        X, IMAGES = before
    for path in smaller.iterdir():
        path.replace(tmp_path / path.name)
    with pytest.raises(InputError, match="the file has changed"):
        rows_of(source, [0])


def test_without_h5py_its_extra_is_named(tmp_path, monkeypatch):
    name = write_hdf5(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install 'nnmpi\[hdf5\]'"):
        open_source(name)


@pytest.mark.slow
def test_a_part_of_a_large_file_costs_that_part(tmp_path):
    """The file has 1 GB of zeros and is sparse on disk. A quarter is read."""
    rows, features = 1 << 20, 256
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, features)}
    with open(tmp_path / "X.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        os.truncate(file.fileno(), file.tell() + 4 * rows * features)
    np.save(tmp_path / "y.npy", np.arange(rows) % 2)
    code = f"""
import numpy as np, resource
from nnmpi.data.sources import open_source
source = open_source({str(tmp_path / "X.npy")!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = np.empty(({rows // 4}, {features}), np.float32)
source.read(np.arange({rows // 4}) + {rows // 2}, out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < (256 + 64) << 10


def test_all_formats_are_in_the_help():
    assert {"npz", "npy", "hdf5", "libsvm", "idx", "built_in", "synthetic"} <= set(SOURCES.values())


FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_it_comes():
    source = open_source(str(FASHION / "t10k-images-idx3-ubyte.gz"))
    assert (source.size, source.features, source.image) == (10_000, 784, (28, 28))
    assert (np.bincount(source.y) == 1000).all()
    with gzip.open(FASHION / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(-1, 784)
    rows = np.random.default_rng(0).permutation(10_000)[:100]
    assert (rows_of(source, rows) == pixels[rows]).all()
