"""Sources of samples give any rows on demand; bad files are refused in one line."""

import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from nnmpi.data import npy
from nnmpi.data.sources import SOURCES, Columns, open_source
from nnmpi.data.sources.built_in import TABLES
from nnmpi.data.sources.synthetic import ROWS_AT_ONCE
from nnmpi.data.targets import targets_of
from nnmpi.errors import InputError

ROWS, FEATURES = 23, 4
X = np.random.default_rng(0).integers(0, 100, (ROWS, FEATURES)).astype(float)
Y = np.arange(ROWS) % 3
BUILT_IN = [name for name, module in SOURCES.items() if module == "built_in"]
SUBSETS = {
    "all": np.arange(ROWS),
    "some": np.array([2, 3, 11, 20]),
    "not in order": np.random.default_rng(1).permutation(ROWS)[:15],
    "last": np.array([ROWS - 1]),
    "repeated": np.array([5, 1, 5, 5, 22, 1]),
    "none": np.array([], np.intp),
}


def rows_of(source, indices, dtype=np.float64):
    out = np.full((len(indices), source.features), np.nan, dtype)
    source.read(np.asarray(indices, np.intp), out)
    return out


def saved(directory, save=np.savez, **arrays):
    path = directory / "table.npz"
    save(path, **arrays)
    return str(path)


def assert_refused(name, *words, **options):
    """Check that the source is refused in one line, which names it and holds `words`."""
    with pytest.raises(InputError) as refused:
        open_source(name, **options)
    message = str(refused.value)
    assert message.startswith(f"--data {name}")
    assert "\n" not in message
    for word in words:
        assert word in message


# built-in


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_is_the_table_of_scikit_learn(name):
    source, table = open_source(name), getattr(sklearn.datasets, f"load_{name}")()
    assert (source.y == table.target).all()
    assert source.y.dtype == table.target.dtype
    assert (rows_of(source, np.arange(source.size)) == table.data).all()


def test_built_in_name_wins_over_a_directory_of_that_name(tmp_path, monkeypatch):
    """`nnmpi train iris --output iris` makes such a directory; the same command must read the same data again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "rows.csv").write_text("a,b,y\n" + "1,2,0\n3,4,1\n" * 20)
    assert open_source("iris").size == 150
    assert open_source("./iris", columns=Columns(target=("y",))).size == 40


def test_names_of_datasets_are_for_hdf5_only(tmp_path):
    saved(tmp_path, X=np.eye(4), y=np.arange(4) % 2)
    for name in (f"{tmp_path}::a", f"{tmp_path}/table.npz::a,b"):
        assert_refused(name, "only HDF5 files have datasets")


def test_a_file_of_targets_is_not_a_file_of_samples(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(4) % 2)
    assert_refused(str(tmp_path / "y.npy"), "pass the file of samples")
    (tmp_path / "some-ubyte").write_bytes(b"\0\0\x08\x03" + bytes(12))
    assert_refused(str(tmp_path / "some-ubyte"), "needs the word images")


def test_digits_are_images():
    assert open_source("digits").image == (8, 8)


@pytest.mark.parametrize("name", ["mnist", "digit", "", "RANDOM:3x2x2"])
def test_unknown_source_is_told_what_is_allowed(name):
    assert_refused(name, "unknown", *BUILT_IN, "random:ROWSxFEATURESxCLASSES", ".npz")


# random


SYNTHETIC = f"random:{2 * ROWS_AT_ONCE + 100}x5x3"


@pytest.mark.parametrize(
    "indices",
    [
        [0],
        [ROWS_AT_ONCE - 1, ROWS_AT_ONCE],
        [2 * ROWS_AT_ONCE + 99, 0, 2 * ROWS_AT_ONCE],
        np.random.default_rng(2).permutation(2 * ROWS_AT_ONCE + 100)[:500],
        [7, 7, 7],
        [],
    ],
    ids=["first", "across a block", "last and first", "any", "repeated", "none"],
)
def test_synthetic_rows_do_not_depend_on_which_are_read(indices):
    source = open_source(SYNTHETIC)
    whole = rows_of(source, np.arange(source.size))
    assert (rows_of(source, indices) == whole[np.asarray(indices, int)]).all()


def test_synthetic_rows_do_not_depend_on_how_many_there_are():
    small, large = open_source("random:50x5x3"), open_source("random:9000x5x3")
    assert (rows_of(small, np.arange(50)) == rows_of(large, np.arange(50))).all()


def test_synthetic_blocks_differ():
    rows = rows_of(open_source(f"random:{2 * ROWS_AT_ONCE}x5x2"), [0, ROWS_AT_ONCE])  # two rows of one class
    assert (rows[0] != rows[1]).all()


def test_synthetic_classes_come_in_turn_around_their_centres():
    source = open_source("random:6000x5x3")
    assert (source.y == np.arange(6000) % 3).all()
    rows = rows_of(source, np.arange(6000))
    centres = np.array([rows[source.y == c].mean(0) for c in range(3)])
    nearest = np.argmin(((rows[:, None] - centres) ** 2).sum(2), axis=1)
    assert np.mean(nearest == source.y) > 0.5  # by chance it is a third


def test_synthetic_shape_is_what_the_name_says():
    source = open_source("random:12x5x3")
    assert (source.size, source.features, len(np.unique(source.y))) == (12, 5, 3)


@pytest.mark.parametrize(
    "name",
    [
        "random:",
        "random:10",
        "random:10x2",
        "random:10x0x2",
        "random:10x2x1",
        "random:3x2x4",
        "random:-5x2x2",
        "random:10x2x2x2",
        "random:1e3x2x2",
        "random:10x2x2 ",
        "random:10X2X2",
    ],
)
def test_bad_synthetic_name_is_told_the_form(name):
    assert_refused(name, "random:ROWSxFEATURESxCLASSES", "at least")


# files


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "compressed"])
def save(request):
    return request.param


@pytest.mark.parametrize("rows", SUBSETS.values(), ids=SUBSETS)
@pytest.mark.parametrize("rows_at_once", [1, 5, ROWS, 10 * ROWS])
def test_any_rows_of_a_file_are_those_of_numpy(tmp_path, monkeypatch, save, rows, rows_at_once):
    monkeypatch.setattr(npy, "BYTES_AT_ONCE", rows_at_once * FEATURES * X.itemsize)
    source = open_source(saved(tmp_path, save, X=X, y=Y))
    assert (rows_of(source, rows) == X[rows]).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">i2", "i1", "u1", "i8", "u8", "?"])
def test_all_number_types_are_read(tmp_path, dtype):
    x = X.astype(dtype)
    source = open_source(saved(tmp_path, X=x, y=Y))
    rows = SUBSETS["not in order"]
    assert (rows_of(source, rows) == x[rows]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_cast_to_what_is_asked_for(tmp_path, dtype):
    source = open_source(saved(tmp_path, X=X / 3, y=Y))
    assert (rows_of(source, [4, 2], dtype) == (X / 3)[[4, 2]].astype(dtype)).all()


def test_images_are_flattened_row_by_row(tmp_path):
    images = np.arange(5 * 3 * 4.0).reshape(5, 3, 4)
    source = open_source(saved(tmp_path, X=images, y=np.arange(5)))
    assert (source.size, source.features, source.image) == (5, 12, (3, 4))
    assert (rows_of(source, [4, 1]) == images[[4, 1]].reshape(2, 12)).all()


def test_version_2_headers_are_read(tmp_path):
    path = tmp_path / "table.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in (("X", X), ("y", Y)):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, version=(2, 0))
    assert (rows_of(open_source(str(path)), [3, 1]) == X[[3, 1]]).all()


LABELS = {
    "int": np.array([-1, 5, 7])[Y],
    "uint8": Y.astype(np.uint8),
    "bool": Y > 0,
    "string": np.array(["ant", "bee", "zebra"])[Y],
    "number": Y / 3,
    "float32": (Y / 3).astype(np.float32),
    "numbers": np.column_stack([Y / 3, -Y]),
}


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_labels_come_as_they_were_saved(tmp_path, save, y):
    labels = open_source(saved(tmp_path, save, X=X, y=y)).y
    assert labels.dtype == y.dtype
    assert (labels == y).all()


@pytest.mark.parametrize("y", [LABELS["int"], LABELS["number"]], ids=["int", "number"])
def test_a_column_of_labels_is_as_good_as_a_row(tmp_path, y):
    assert (open_source(saved(tmp_path, X=X, y=y[:, None])).y == y).all()


def test_without_targets_a_file_needs_no_y(tmp_path):
    source = open_source(saved(tmp_path, X=X), targets=False)
    assert source.y is None
    assert source.size == ROWS


@pytest.mark.parametrize("missing", ["X", "y"])
def test_missing_array_is_named(tmp_path, missing):
    arrays = {name: a for name, a in {"X": X, "y": Y}.items() if name != missing}
    assert_refused(saved(tmp_path, **arrays), f"no array {missing}")


BAD_X = {
    "one dimension": X[:, 0],
    "four dimensions": X.reshape(ROWS, 2, 2, 1),
    "no rows": X[:0],
    "no features": X[:, :0],
    "strings": X.astype(str),
    "complex": X.astype(complex),
    "dates": X.astype("M8[s]"),
    "a single number": np.array(3.0),
}


@pytest.mark.parametrize("x", BAD_X.values(), ids=BAD_X)
def test_features_that_are_no_table_are_refused(tmp_path, x):
    assert_refused(saved(tmp_path, X=x, y=Y), "X must hold numbers", "(samples, features)", str(x.shape), str(x.dtype))


BAD_Y = {
    "too short": Y[:-1],
    "too long": np.arange(ROWS + 1),
    "complex": Y.astype(complex),
    "several strings a sample": np.column_stack([Y, Y]).astype(str),
    "three dimensions": np.zeros((ROWS, 2, 2)),
    "a single number": np.array(3),
    "no columns": np.zeros((ROWS, 0)),
}


@pytest.mark.parametrize("y", BAD_Y.values(), ids=BAD_Y)
def test_labels_that_do_not_fit_are_refused(tmp_path, y):
    assert_refused(saved(tmp_path, X=X, y=y), "y must hold a class", f"{ROWS} rows", str(y.shape), str(y.dtype))


def test_several_whole_numbers_a_sample_mean_what_they_mean_as_floats(tmp_path):
    y = np.column_stack([Y, -Y, Y + 300])
    numbers = targets_of(open_source(saved(tmp_path, X=X, y=y.astype(float))), "auto")
    whole_numbers = targets_of(open_source(saved(tmp_path, X=X, y=y)), "auto")
    assert (whole_numbers[0].task, whole_numbers[0].outputs, whole_numbers[2]) == ("regression", 3, numbers[2])


class Bomb:
    """An object whose unpickling creates the file `mark`."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize("name", ["X", "y"])
def test_pickles_are_refused_and_never_run(tmp_path, name):
    mark = tmp_path / "pickle was run"
    arrays = {"X": X, "y": Y, name: np.full((ROWS, 1) if name == "X" else ROWS, Bomb(mark), object)}
    assert_refused(saved(tmp_path, **arrays))
    assert not mark.exists()


def test_a_pickle_in_disguise_is_refused(tmp_path):
    path = tmp_path / "table.npz"
    path.write_bytes(pickle.dumps({"X": X, "y": Y}))
    assert_refused(str(path), "cannot be read")


@pytest.mark.parametrize("path", ["missing.npz", "dir/missing.npz", "dir/table.csv", "./table"])
def test_missing_file(path):
    assert_refused(path, "no such file")


def test_a_file_that_is_not_npz(tmp_path):
    path = tmp_path / "table.xls"
    path.write_text("1,2\n")
    assert_refused(str(path), "not a file that ends in .npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"1,2,3\n" * 100], ids=["empty", "PK", "npy", "text"])
def test_a_file_that_is_no_archive(tmp_path, content):
    path = tmp_path / "table.npz"
    path.write_bytes(content)
    assert_refused(str(path), "cannot be read")


def test_truncated_files_are_refused(tmp_path, save):
    path = saved(tmp_path, save, X=X, y=Y)
    whole = Path(path).read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        Path(path).write_bytes(whole[:length])
        assert_refused(path, "cannot be read")


@pytest.mark.slow
def test_damaged_files_are_read_or_refused(tmp_path, save):
    path = saved(tmp_path, save, X=X, y=Y)
    whole = Path(path).read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 300)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x5A
        Path(path).write_bytes(damaged)
        try:
            source = open_source(path)
            rows_of(source, np.arange(source.size))
        except InputError as error:
            assert str(error).startswith(f"--data {path}")  # noqa: PT017 (damage to padding is not refused)


def test_an_array_shorter_than_its_header_says_is_refused(tmp_path):
    path = tmp_path / "table.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in (("X", X), ("y", Y)):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array[:-2] if name == "X" else array)
    # the header gets as many rows as there are labels; the archive holds two fewer
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["X.npy"] = members["X.npy"].replace(b"(21, 4)", b"(23, 4)")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert_refused(str(path), "cannot be read", "its header says")


def test_a_file_that_vanishes_is_named(tmp_path):
    path = saved(tmp_path, X=X, y=Y)
    source = open_source(path)
    (tmp_path / "table.npz").unlink()
    with pytest.raises(InputError, match=r"table\.npz: cannot be read"):
        rows_of(source, [0])


@pytest.mark.parametrize("name", TABLES)
def test_tables_come_from_scikit_learn_where_it_keeps_its_files_elsewhere(name, monkeypatch):
    expected = open_source(name)
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    source = open_source(name)
    assert (source.y == expected.y).all()
    assert (rows_of(source, np.arange(source.size)) == rows_of(expected, np.arange(source.size))).all()


NOT_QUICK = [*(name for name in TABLES if name != "digits"), "random:20x3x2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", *(pytest.param(name, marks=pytest.mark.slow) for name in NOT_QUICK)])
def test_reading_and_splitting_imports_no_scikit_learn(name):
    """The import would cost every rank a second and 90 MB."""
    code = f"""
import sys, nnmpi.commands.train
from nnmpi.data.parts import split
from nnmpi.data.sources import open_source
split(open_source({name!r}), 0.2, 0.1, 1, False)
print([module for module in sys.modules if module in ("sklearn", "scipy")])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
