"""Damaged and deceptive ``.npz`` files: each is refused in one line, or can be trained on."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import MEMORY, Alone, damaged, ends_well, fuzz
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nnmpi.config import Config
from nnmpi.data.sources import open_source
from nnmpi.errors import InputError
from nnmpi.training.task import prepare

pytestmark = pytest.mark.slow

X = np.arange(90.0).reshape(30, 3)
Y = np.arange(30) % 3
LABELS = {
    "whole numbers": Y,
    "strings": np.array(["ant", "bee", "ä"])[Y],
    "numbers": np.column_stack([Y / 3, -Y]),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / "table.npz"


def try_to_prepare(path: Path, content: bytes, **settings: Any) -> bool:
    """Open the data, read all of it and prepare a training. Return whether that was possible."""
    path.write_bytes(content)
    source = ends_well(lambda: open_source(str(path)))
    ends_well(lambda: open_source(str(path), targets=False))
    if source is None:
        return False
    # larger data are valid, but not read here; deceptive files have been refused above
    if source.size * (1 + source.features) * 8 < MEMORY // 4:
        ends_well(lambda: source.read(np.arange(source.size), np.empty((source.size, source.features))))
        config = Config(data=str(path), shards=1, **settings)
        return ends_well(lambda: prepare(config, Alone(), 1)) is not None
    return True


def saved(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def packed(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    """Return an archive with exactly these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(header: str | bytes, data: bytes = b"", version: int = 1) -> bytes:
    text = header if isinstance(header, bytes) else header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def valid_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def test_whole_files_are_taken(path: Path) -> None:
    for y in LABELS.values():
        assert try_to_prepare(path, saved(X=X, y=y))
        assert try_to_prepare(path, packed(X=valid_npy(X), y=valid_npy(y)))


@given(data=st.data(), y=st.sampled_from(sorted(LABELS)), save=st.sampled_from([np.savez, np.savez_compressed]))
@fuzz
@pytest.mark.slow
def test_bytes(path: Path, data: st.DataObject, y: str, save: Callable[..., None]) -> None:
    try_to_prepare(path, data.draw(damaged(saved(save, X=X, y=LABELS[y]))))


@given(data=st.data(), member=st.sampled_from(["X", "y"]), method=st.sampled_from([0, 8, 12, 14]))
@fuzz
@pytest.mark.slow
def test_bytes_of_an_array(path: Path, data: st.DataObject, member: str, method: int) -> None:
    members = {"X": valid_npy(X), "y": valid_npy(Y)}
    members[member] = data.draw(damaged(members[member]))
    try_to_prepare(path, packed(method, **members))


SHAPES = ["()", "(30,)", "(30, 3)", "(3, 30)", "(-30, -3)", "(30, -3)", "(0, 3)", "(30, 0)", "(10**18, 3)", "(30, 3.0)"]
SHAPES += ["(99999999999, 3)", "(30, True)", "(True, 90)", "[30, 3]", "(30, 3, 1)", "(30, '3')", "(" + "1, " * 70 + ")"]
KINDS = [
    "'<f8'",
    "'>f8'",
    "'<f4'",
    "'|O'",
    "'<U9999'",
    "'<U0'",
    "'V8'",
    "'S8'",
    "'M8[s]'",
    "'c16'",
    "'f16'",
    "''",
    "None",
]
KINDS += ["[('a', '<f8')]", "[('a', '<f8', (999999999,))]", "('<f8', (3,))", "()", "[]", "'f8,f8'", "'(99999999,)f8'"]
KINDS += [
    "'object'",
    "{'names': ['a'], 'formats': ['O']}",
    "'\\x1b[31m'",
    "b'f8'",
    "'U99999999'",
    "float",
    "'b'",
    "'?'",
]
EXPRESSIONS = ["__import__('os').abort()", "{" * 500, "(" * 5000, "-" * 9000 + "1", "{[]: 1}", "10L", "1if 1else 2", ""]
EXPRESSIONS += [
    "'" + "\\N{DIGIT ONE}" * 500 + "'",
    "{1: 2, 'a': 3}",
    "  \n x",
    "\0",
    "\udcff",
    "'\\d'",
    "9" * 5000,
    "[]" * 99,
]
header_values = {
    "descr": st.sampled_from(KINDS),
    "fortran_order": st.sampled_from(["True", "False", "None", "0"]),
    "shape": st.sampled_from(SHAPES) | st.tuples(st.integers(), st.integers()).map(str),
}


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Draw the header of an array with some errors in it."""
    values = {"descr": "'<f8'", "fortran_order": "False", "shape": "(30, 3)"}
    for key in draw(st.lists(st.sampled_from(sorted(values)), max_size=3)):
        values[key] = draw(header_values[key] | st.sampled_from(EXPRESSIONS) | st.text(max_size=10))
    text = (
        "{"
        + ", ".join(f"'{key}': {value}" for key, value in values.items())
        + draw(st.sampled_from(["}", ", }\n", ""]))
    )
    return draw(st.just(text) | st.sampled_from(EXPRESSIONS)).encode(errors="surrogatepass")


@given(header=headers(), member=st.sampled_from(["X", "y"]), version=st.integers(0, 4), size=st.integers(0, 999))
@fuzz
@pytest.mark.slow
def test_headers(path: Path, header: bytes, member: str, version: int, size: int) -> None:
    members = {"X": valid_npy(X), "y": valid_npy(Y)}
    members[member] = npy(header, bytes(range(97, 122)) * size, version)
    try_to_prepare(path, packed(zipfile.ZIP_DEFLATED, **members))


values = arrays.arrays(
    arrays.scalar_dtypes() | arrays.array_dtypes() | arrays.unicode_string_dtypes() | arrays.floating_dtypes(),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=30),
)
tables = arrays.arrays(
    arrays.floating_dtypes() | arrays.integer_dtypes() | arrays.boolean_dtypes(),
    st.tuples(st.just(20), st.integers(1, 4)),
)
labels = arrays.arrays(
    arrays.floating_dtypes() | arrays.integer_dtypes() | arrays.unicode_string_dtypes(max_len=4),
    st.just((20,)) | st.just((20, 2)) | st.just((20, 1)),
)


@given(x=tables | values, y=labels | values, dtype=st.sampled_from(["float32", "float64"]), fortran=st.booleans())
@fuzz
@pytest.mark.slow
def test_any_arrays(path: Path, x: np.ndarray, y: np.ndarray, dtype: str, fortran: bool) -> None:
    order = np.asfortranarray if fortran else np.asarray
    try:
        content = saved(X=order(x), y=order(y))
    except (ValueError, RuntimeError, UserWarning):  # NumPy refuses to save this type
        return
    try_to_prepare(path, content, dtype=dtype)


# inputs that deceive in one way each


def bomb(rows: int, columns: int) -> bytes:
    """Return a small archive with a large array of zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("X.npy", "w", force_zip64=True) as x:
        x.write(npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {columns})}}"))
        for _ in range(rows):
            x.write(bytes(columns))
    return file.getvalue()


def with_false_size(content: bytes, size: int) -> bytes:
    """Set the size of the last member in the archive's directory to `size` bytes."""
    position = content.rindex(b"PK\x01\x02")
    return content[: position + 24] + struct.pack("<I", size) + content[position + 28 :]


def header(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


def dtype_of_labels(numbers: list[int]) -> np.ndarray:
    return np.resize(np.array(numbers, np.uint32), 30).view("U1")


LABELS_30 = valid_npy(Y)
HUGE = str((10**11, 3))
FOUR_GIGABYTES = npy(header("(4000000000, 1)", "'|u1'"))
TRICKS = {
    "no file": b"",
    "no members": packed(),
    "declares a terabyte": packed(X=npy(header(HUGE), X.tobytes()), y=LABELS_30),
    "declares a terabyte of labels": packed(X=valid_npy(X), y=npy(header("(30, 9999999999)"), b"")),
    "declares wide strings": packed(X=valid_npy(X), y=npy(header("(30,)", "'<U2147483647'"))),
    "directory lies": with_false_size(
        packed(8, y=LABELS_30, X=FOUR_GIGABYTES + bytes(999)), 4 * 10**9 + len(FOUR_GIGABYTES)
    ),
    "stored, and larger than the file": with_false_size(
        packed(y=LABELS_30, X=FOUR_GIGABYTES), 4 * 10**9 + len(FOUR_GIGABYTES)
    ),
    "header of gigabytes": packed(
        8, X=b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 4 * 10**7, y=LABELS_30
    ),
    "header of lies": packed(X=npy(header("(-30, -3)"), X.tobytes()), y=LABELS_30),
    "a negative number of labels": packed(X=valid_npy(X), y=npy(header("(-30,)"))),
    "keys of two kinds": packed(X=npy("{1: 2, 'a': 3}"), y=LABELS_30),
    "key that is a list": packed(X=npy("{[]: 1}"), y=LABELS_30),
    "code for a header": packed(X=npy("__import__('os').abort()"), y=LABELS_30),
    "indented header": packed(X=npy("  {\n 1"), y=LABELS_30),
    "deep header": packed(X=npy("(" * 5000), y=LABELS_30),
    "header of signs": packed(X=npy("-" * 9000 + "1"), y=LABELS_30),
    "header that is an escape": packed(X=npy(header("(30, 3)", "'\\x1b[2J'")), y=LABELS_30),
    "unknown escape": packed(X=npy(header("(30, 3)", "'\\d'")), y=LABELS_30),
    "no type": packed(X=npy(header("(30, 3)", "()")), y=LABELS_30),
    "objects": packed(X=valid_npy(X), y=npy(header("(1,)", "'|O'"), pickle.dumps([print]))),
    "structured": packed(X=valid_npy(X.view([("a", "<f8")])), y=LABELS_30),
    "structured labels": packed(X=valid_npy(X), y=valid_npy(Y.view([("a", "<i8")]))),
    "beyond Unicode": packed(X=valid_npy(X), y=valid_npy(dtype_of_labels([65, 66, 0x110000]))),
    "half a character": packed(X=valid_npy(X), y=valid_npy(dtype_of_labels([65, 66, 0xD800]))),
    "LZMA": packed(zipfile.ZIP_LZMA, X=valid_npy(X), y=LABELS_30),
    "bzip2": packed(zipfile.ZIP_BZIP2, X=valid_npy(X), y=LABELS_30),
    "an absolute name": packed(**{"/etc/X": valid_npy(X), "y": LABELS_30}),
    "a name above": packed(**{"../X": valid_npy(X), "y": LABELS_30}),
    "directory cut off": packed(X=valid_npy(X), y=LABELS_30)[:-40],
    "squares overflow": saved(X=X * 1e300, y=Y / 3),
    "targets overflow": saved(X=X, y=X[:, 0] * 1e300),
    "labels that overflow": saved(X=X, y=Y * 1e300),
    "all the same number": saved(X=np.ones((30, 2)), y=Y),
    "all the same class": saved(X=X, y=np.zeros(30, int)),
    "empty strings": saved(X=X, y=np.zeros(30, "U0")),
    "labels beyond all": saved(X=X, y=np.resize(np.array([0, 2**64 - 1], np.uint64), 30)),
}
# these are valid: numbers are centered and scaled in float64 before they are rounded
VALID = {"labels beyond all", "all the same number", "squares overflow", "targets overflow"}


@pytest.mark.parametrize("name", TRICKS)
def test_tricks(path: Path, name: str) -> None:
    dtype = "float64" if "overflow" in name else "float32"
    assert try_to_prepare(path, TRICKS[name], dtype=dtype) == (name in VALID)


@pytest.mark.parametrize("shape", ["(-30, -3)", "(-30, 3, -1)"])
@pytest.mark.parametrize("name", ["directory lies", "stored, and larger than the file", ""])
def test_shapes_that_lie_are_refused_without_labels_too(path: Path, name: str, shape: str) -> None:
    path.write_bytes(TRICKS.get(name) or packed(X=npy(header(shape), X.tobytes())))
    with pytest.raises(InputError, match="cannot be read"):
        open_source(str(path), targets=False)


def test_of_two_members_with_one_name_the_last_counts(path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("y.npy", LABELS_30)
        archive.writestr("X.npy", valid_npy(X + 1))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("X.npy", valid_npy(X))
    assert try_to_prepare(path, file.getvalue())


def test_encrypted_members_are_refused(path: Path) -> None:
    content = bytearray(packed(X=valid_npy(X), y=LABELS_30))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    assert not try_to_prepare(path, bytes(content))


def test_a_bomb_costs_no_more_than_its_rows(path: Path) -> None:
    path.write_bytes(bomb(64, 1 << 20))
    assert path.stat().st_size < 100_000
    source = open_source(str(path), targets=False)
    rows = np.array([0, 63])
    ends_well(lambda: source.read(rows, np.empty((2, source.features), np.float32)))


def test_what_does_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    path.write_bytes(bomb(64, 1 << 20))
    monkeypatch.setattr("os.sysconf", lambda name: 1000)
    assert not try_to_prepare(path, path.read_bytes())
    assert ends_well(lambda: prepare(Config(data="random:1000000x2x2"), Alone(), 8)) is None


@pytest.mark.parametrize(
    "name", ["random:1000000000000x1x2", "random:999999999999x999999999x2", "random:9x999999999x9"]
)
def test_made_up_data_that_do_not_fit_are_refused(name: str) -> None:
    assert ends_well(lambda: open_source(name)) is None


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipe.npz", "zero.npz"):
        assert ends_well(lambda name=name: open_source(str(tmp_path / name))) is None
