"""Damaged or random files of all formats except ``.npz``: each is refused in one line, or can be trained on."""

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import MEMORY, Alone, damaged, ends_well, fuzz
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.config import Config
from nnmpi.data.sources import Columns, open_source
from nnmpi.data.table import Encoding
from nnmpi.errors import InputError
from nnmpi.training.task import prepare

pa = pytest.importorskip("pyarrow")
h5py = pytest.importorskip("h5py")

import pyarrow.parquet  # noqa: E402

pytestmark = pytest.mark.slow

X = np.arange(90.0).reshape(30, 3)
Y = np.arange(30) % 3
CSV = "x,carrier,when,y\n" + "".join(f"{i / 7},{'AB'[i % 2]},2013-01-{i + 1:02},{i % 3}\n" for i in range(30))


def parquet(**options: Any) -> bytes:
    file = io.BytesIO()
    table = pa.table({"x": X[:, 0], "carrier": np.array(["AA", "UA"])[Y % 2], "y": Y})
    pyarrow.parquet.write_table(table, file, row_group_size=11, **options)
    return file.getvalue()


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def hdf5(**options: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5.create_dataset("X", data=X, **options)
        h5.create_dataset("y", data=Y)
    return file.getvalue()


SVM = "".join(f"{i % 3} 1:{i / 7} 3:{-i}\n" for i in range(30)).encode()
FILES: dict[str, bytes] = {
    "table.csv": CSV.encode(),
    "table.csv.gz": gzip.compress(CSV.encode()),
    "table.tsv": CSV.replace(",", "\t").encode(),
    "table.parquet": parquet(),
    "plain.parquet": parquet(compression="none", use_dictionary=False),
    "table.h5": hdf5(),
    "packed.h5": hdf5(chunks=(8, 3), compression="gzip"),
    "table.svm": SVM,
    "X.npy": npy(X),
    "y.npy": npy(Y),
    "a-images-idx3-ubyte": idx(X.reshape(30, 3, 1)),
    "a-labels-idx1-ubyte": idx(Y),
    "b-images-idx3-ubyte.gz": gzip.compress(idx(X.reshape(30, 3, 1))),
    "b-labels-idx1-ubyte.gz": gzip.compress(idx(Y)),
}
# files that are read together with another → the file to open
OPENED = {"y.npy": "X.npy", **{f: f.replace("labels-idx1", "images-idx3") for f in FILES if "labels" in f}}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    return path


def try_to_prepare(path: Path, **settings: Any) -> bool:
    """Open the data, read all of it and prepare a training. Return whether that was possible."""
    source = ends_well(lambda: open_source(str(path)))
    if source is None or source.size * (1 + source.features) * 8 >= MEMORY // 4:
        return source is not None
    ends_well(lambda: source.read(np.arange(source.size), np.empty((source.size, source.features))))
    task = ends_well(lambda: prepare(Config(data=str(path), shards=1, **settings), Alone(), 1))
    if task and isinstance(task.scaler, Encoding):
        columns = task.scaler.columns
        assert ends_well(lambda: open_source(str(path), False, True, Columns(), columns)) is not None
    return task is not None


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_taken(directory: Path, name: str) -> None:
    assert try_to_prepare(directory / OPENED.get(name, name))


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@fuzz
def test_bytes(directory: Path, name: str, data: st.DataObject) -> None:
    (directory / name).write_bytes(data.draw(damaged(FILES[name])))
    try:
        try_to_prepare(directory / OPENED.get(name, name))
    finally:
        (directory / name).write_bytes(FILES[name])


fields = st.sampled_from(
    ["", "NA", "1", "-1.5", "1e400", "nan", "inf", "x", "2013-01-01", "true", '"', '"a\nb"', "\0", "ä", "9" * 30, " 1 "]
) | st.text(max_size=4)


@given(
    header=st.lists(st.sampled_from(["y", "x", "a", "", "1", "ä", '"', "target"]) | st.text(max_size=3), max_size=4),
    rows=st.lists(st.lists(fields, max_size=4), max_size=12),
    delimiter=st.sampled_from([",", ";", "\t", "|", " "]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
@fuzz
def test_any_fields(
    directory: Path, header: list[str], rows: list[list[str]], delimiter: str, end: str, encoding: str
) -> None:
    text = end.join(delimiter.join(row) for row in [header, *rows])
    path = directory / "any.csv"
    path.write_bytes(text.encode(encoding, "replace"))
    try_to_prepare(path)


@given(
    data=st.data(),
    make=st.sampled_from([pa.float64(), pa.int8(), pa.uint64(), pa.bool_(), pa.string(), pa.binary(), pa.date32()]),
)
@fuzz
def test_any_parquet_types(directory: Path, data: st.DataObject, make: Any) -> None:
    values: Callable[[], st.SearchStrategy[Any]] = {
        "double": lambda: st.floats(),
        "int8": lambda: st.integers(-128, 127),
        "uint64": lambda: st.integers(0, 2**64 - 1),
        "bool": lambda: st.booleans(),
        "string": lambda: st.text(max_size=3),
        "binary": lambda: st.binary(max_size=3),
        "date32[day]": lambda: st.dates(),
    }[str(make)]
    column = data.draw(st.lists(st.none() | values(), min_size=10, max_size=10))
    target = data.draw(st.booleans())
    table = pa.table({"x": pa.array(np.arange(10.0)), "y" if target else "a": pa.array(column, make)})
    if not target:
        table = table.append_column("y", pa.array([0, 1] * 5))
    path = directory / "any.parquet"
    pyarrow.parquet.write_table(table, path)
    try_to_prepare(path)


TRICKS = {
    "a bomb.csv.gz": gzip.compress(b"x,y\n" + b"1,2\n" * 10**6),
    "a long line.csv": b"x,y\n" + b"1" * (1 << 23) + b",2\n",
    "many columns.csv": ",".join(f"c{i}" for i in range(20000)).encode() + b"\n",
    "quotes.csv": b'x,y\n"' + b'""' * 10**5 + b'",2\n',
    "huge.npy": b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 3)}  ",
    "huge-images-idx3-ubyte": bytes([0, 0, 8, 3]) + b"\xff" * 12,
    "huge-images-idx3-ubyte.gz": gzip.compress(bytes([0, 0, 8, 3]) + b"\xff" * 12),
    "dims-images-idx3-ubyte": bytes([0, 0, 8, 255]),
    "huge.svm": b"1 999999999:1\n0 1:1\n",
}


@pytest.mark.parametrize("name", TRICKS)
def test_tricks(directory: Path, name: str) -> None:
    (directory / name).write_bytes(TRICKS[name])
    ends_well(lambda: open_source(str(directory / name), targets=False))


def test_a_row_group_with_fewer_rows_than_it_should_have_is_named(tmp_path: Path) -> None:
    content = bytearray(FILES["plain.parquet"])
    content[5] = 1  # the first page of rows becomes one that readers skip
    (tmp_path / "d.parquet").write_bytes(content)
    source = open_source(str(tmp_path / "d.parquet"))
    with pytest.raises(InputError, match=r"d\.parquet: is damaged: row group 0 holds 0 rows and should hold 11"):
        source.read(np.arange(source.size), np.empty((source.size, source.features)))


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    for name in ("x.csv", "x.parquet", "x.h5", "X.npy", "x.svm", "x-ubyte"):
        os.mkfifo(tmp_path / name)
        assert ends_well(lambda name=name: open_source(str(tmp_path / name), targets=False)) is None
