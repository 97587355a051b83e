"""Frames of pandas and Polars: each column trains like the same values in a plain column, or is refused in one line."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nnmpi
from nnmpi.call import Result
from nnmpi.data.sources import Columns, Request
from nnmpi.data.sources.frames import frame_source
from nnmpi.errors import InputError

generator = np.random.default_rng(0)
ROWS = 200
CODES = generator.integers(0, 4, ROWS)
X = generator.normal(size=ROWS)
LABELS = np.where(CODES % 2 == 1, "yes", "no")


def train(data: Any, **settings: Any) -> Result:
    return nnmpi.train(data, target="t", hidden=(4,), epochs=1, **settings)


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": X, **columns, "t": LABELS})


# ------------------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("name", ["target", "y", "label", "class"])
def test_all_columns_are_features_if_the_targets_are_given(name: str) -> None:
    """Without targets of their own, a column of such a name holds the targets."""
    features = frame().drop(columns="t").assign(**{name: CODES})
    assert nnmpi.train(features, LABELS, hidden=(4,), epochs=1).model.columns == ("x", name)


# ------------------------------------------------------------------------------------------------------------- decimals


@pytest.mark.parametrize("digits", [1, 3, 9, 18])
def test_decimals_are_the_nearest_numbers(digits: int) -> None:
    numbers = [Decimal(n).scaleb(-min(digits, 3)) for n in range(3000, 5000)] + [Decimal(n) for n in range(1000)]
    decimals = pa.array(numbers, pa.decimal128(38, digits))
    table = pa.table({"x": decimals, "t": decimals, "w": decimals})
    source = frame_source(table, Request("arrays", columns=Columns(("t",), categories=("x",), weight="w")))
    rows = np.empty((source.size, 1))
    source.read(np.arange(source.size), rows)
    for values in (rows[:, 0], source.y, source.weights):
        np.testing.assert_array_equal(values, np.array(numbers, float))


# --------------------------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("column", ["town", "t"])
@pytest.mark.parametrize("encoded", [False, True])
def test_texts_that_are_not_utf8_are_named(column: str, encoded: bool, tmp_path: Path) -> None:
    """Other programs write such files, and PyArrow does not check them; a frame has the same columns."""
    texts = pa.array([("ulm", "münchen")[code % 2].encode("latin-1") for code in CODES], pa.binary()).view(pa.string())
    columns = {"x": X, "town": pa.array(["ulm", "köln"] * (ROWS // 2)), "t": LABELS}
    table = pa.table(columns | {column: texts.dictionary_encode() if encoded else texts})
    pq.write_table(table, tmp_path / "d.parquet")
    for data in (table, tmp_path / "d.parquet"):
        with pytest.raises(InputError, match=rf"{column} holds b'm\\xfcnchen', which is not UTF-8"):
            nnmpi.train(data, target="t", hidden=(4,), epochs=1)


# ----------------------------------------------------------------------------------------------------------- categories

NUMBERS = {
    "whole numbers": CODES - 1,
    "bytes": CODES.astype(np.uint8),
    "fractions": CODES / 4,
    "booleans": CODES > 1,
    "missing": np.where(CODES == 3, np.nan, CODES),
}


@pytest.mark.parametrize("values", NUMBERS.values(), ids=NUMBERS)
def test_categories_that_are_numbers_are_categories(tmp_path: Path, values: Any) -> None:
    plain = frame(a=values)
    categories = plain.astype({"a": "category"})
    categories.to_parquet(tmp_path / "table.parquet")
    expected, *others = (
        train(plain, categories="a"),
        train(categories),
        train(tmp_path / "table.parquet"),
    )
    for other in others:
        assert other.model._model.scaler.to_json() == expected.model._model.scaler.to_json()
        np.testing.assert_array_equal(other.model.parameters, expected.model.parameters)
        assert other.scores == expected.scores
        for rows in (plain, categories):
            np.testing.assert_array_equal(other.model.predict_proba(rows), expected.model.predict_proba(plain))


def test_exported_categories_that_are_numbers(tmp_path: Path) -> None:
    plain = frame(a=CODES, b=CODES > 1)
    model = train(plain.astype({"a": "category", "b": "category"})).model
    model.export(tmp_path / "model.joblib")
    for rows in (plain, plain.astype({"a": "category", "b": "category"})):
        assert (joblib.load(tmp_path / "model.joblib").predict(rows) == model.predict(plain)).all()


def test_files_of_a_directory_may_have_other_numbers_of_categories(tmp_path: Path) -> None:
    """Few categories have codes of 8 bits, many have codes of 16."""
    whole = frame(a=np.arange(ROWS) % 190)
    for i, rows in enumerate((whole[:190], whole[190:])):
        rows.astype({"a": "category"}).to_parquet(tmp_path / f"{i}.parquet", index=False)
    trained = train(tmp_path)
    np.testing.assert_array_equal(trained.model.parameters, train(whole, categories="a").model.parameters)


@pytest.mark.parametrize(
    "labels", [CODES, CODES > 1, CODES + 2**60, np.arange(ROWS) // 2], ids=["whole", "booleans", "large", "few rows"]
)
def test_target_categories_are_classes(tmp_path: Path, labels: np.ndarray) -> None:
    data = frame().assign(t=pd.Categorical(labels))
    data.to_parquet(tmp_path / "table.parquet")
    in_memory = [nnmpi.train(x, data["t"], hidden=(4,), epochs=1) for x in (data[["x"]], X[:, None])]
    for trained in (*in_memory, train(data), train(tmp_path / "table.parquet")):
        classes = trained.model.classes
        assert classes is not None
        assert classes.dtype == labels.dtype
        assert (classes == np.unique(labels)).all()
    assert train(data, task="regression").model.classes is None


def test_categories_without_any_value_are_no_features() -> None:
    all_missing = pd.Series([None] * ROWS, dtype=object).astype("category")
    assert train(frame(a=all_missing)).model.columns == ("x",)
    model = train(frame(a=pd.Categorical(CODES))).model
    assert (model.predict(frame(a=all_missing)) == model.predict(frame(a=np.full(ROWS, np.nan)))).all()


def test_categories_that_are_fractions_are_no_classes() -> None:
    with pytest.raises(InputError, match=r"a column of categories needs classes, but y .* holds fractions"):
        train(frame().assign(t=pd.Categorical(CODES / 4)))


# ---------------------------------------------------------------------------------------------------- texts and moments


def test_texts_of_polars_train_like_those_of_pandas() -> None:
    """Polars stores texts as string views, and PyArrow cannot take rows of those."""
    columns = {"x": X, "a": np.array(["long enough for no inlining", "b", "c", "d"])[CODES], "t": LABELS}
    expected = train(pd.DataFrame(columns))
    for types in ({}, {"a": pl.Categorical, "t": pl.Categorical}, {"t": pl.Enum(["no", "yes"])}):
        trained = train(pl.DataFrame(columns, schema_overrides=types))
        np.testing.assert_array_equal(trained.model.parameters, expected.model.parameters)
    sources = [
        frame_source(make(columns), Request("X", columns=Columns(("t",)))) for make in (pd.DataFrame, pl.DataFrame)
    ]
    rows = np.array([9, 1, 5, 150])
    from_pandas, from_polars = np.empty((4, 2)), np.empty((4, 2))
    sources[0].read(rows, from_pandas)
    sources[1].read(rows, from_polars)
    np.testing.assert_array_equal(from_pandas, from_polars)


@pytest.mark.parametrize("kind", ["duration", "time64"])
def test_the_unit_of_times_makes_no_difference(kind: str) -> None:
    units = {"duration": ["s", "ms", "us", "ns"], "time64": ["us", "ns"]}[kind]
    columns = []
    for unit in units:
        dtype = getattr(pa, kind)(unit)
        count = CODES * 10 ** (3 * ["s", "ms", "us", "ns"].index(unit))
        columns.append(pa.table({"x": X, "a": pa.array(count, pa.int64()).cast(dtype), "t": LABELS.tolist()}))
    model = train(columns[0]).model
    for table in columns[1:]:
        np.testing.assert_array_equal(model.predict_proba(table), model.predict_proba(columns[0]))


def test_an_unknown_time_zone_is_named() -> None:
    moments = pa.array(np.arange(ROWS)).cast(pa.timestamp("s", "Mars/Phobos"))
    with pytest.raises(InputError, match=r"column a cannot be read \(Cannot locate .* 'Mars/Phobos'"):
        train(pa.table({"x": X, "a": moments, "t": LABELS.tolist()}))


# ----------------------------------------------------------------------------------------------- what PyArrow refuses

REFUSED = {
    "mixed objects": (["u", 1] * 100, "object"),
    "whole numbers beyond 64 bits": ([2**70, 1] * 100, "object"),
    "complex numbers": (X + 1j, "complex128"),
}


@pytest.mark.parametrize(("values", "dtype"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_converted_is_named(values: Any, dtype: str) -> None:
    with pytest.raises(InputError, match=rf"column a of type {dtype} cannot be used .*numbers or all texts.*drop a"):
        train(frame(a=values))
    model = train(frame(a=values), drop="a").model
    assert model.predict(frame(a=values)).shape == (ROWS,)


def test_sparse_columns_are_made_dense() -> None:
    for values in (CODES, np.where(CODES == 3, np.nan, CODES)):
        sparse = train(frame(a=pd.arrays.SparseArray(values)))
        np.testing.assert_array_equal(sparse.model.parameters, train(frame(a=values)).model.parameters)


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_two_columns_of_one_name_are_refused(kind: str) -> None:
    columns = [X, X, CODES]
    table = pd.DataFrame(np.column_stack(columns), columns=["a", "a", "t"])
    data = table if kind == "pandas" else pa.table([pa.array(column) for column in columns], ["a", "a", "t"])
    with pytest.raises(InputError, match="there are two columns 'a': rename one"):
        train(data)


@pytest.mark.filterwarnings("error")
def test_names_may_be_numbers() -> None:
    model = train(pd.DataFrame({0: X, ("a", 1): CODES, "t": LABELS})).model
    assert model.columns == ("0", "('a', 1)")
    assert model.predict(pd.DataFrame({("a", 1): CODES, 0: X})).shape == (ROWS,)


INDICES = {
    "of mixed objects": (pd.Index(["a", 1] * 100), ("x",)),
    "of two levels": ([np.arange(ROWS), np.arange(ROWS)[::-1]], ("x",)),
    "named": (pd.Index(CODES, name=7), ("x", "7")),
    "named as a column": (pd.Index(CODES, name="x"), ("x",)),
    "row numbers with a name": (pd.RangeIndex(ROWS, name="id"), ("x",)),
}


@pytest.mark.parametrize(("index", "columns"), INDICES.values(), ids=INDICES)
def test_the_index_is_a_column_if_it_has_a_name_of_its_own(index: Any, columns: tuple[str, ...]) -> None:
    data = frame().set_index(index)
    model = train(data).model
    assert model.columns == columns
    assert model.predict(data).shape == (ROWS,)


def test_row_numbers_of_two_levels_in_a_parquet_file_are_no_features(tmp_path: Path) -> None:
    frame().set_index([np.arange(ROWS), CODES]).to_parquet(tmp_path / "table.parquet")
    assert train(tmp_path / "table.parquet").model.columns == ("x",)


@pytest.mark.parametrize(
    "column", [pd.Series(X), pl.Series(X), pa.chunked_array([X]), X], ids=lambda c: type(c).__name__
)
def test_a_single_column_is_no_frame(column: Any) -> None:
    with pytest.raises(InputError, match=r"shape \(samples, features\).*it has shape \(200,\)"):
        nnmpi.train(column, LABELS)
    with pytest.raises(ValueError, match=r"X has shape \(200,\)"):
        train(frame()).model.predict(column)


def test_lazy_frames_are_to_be_collected() -> None:
    lazy = pl.from_pandas(frame()).lazy()
    with pytest.raises(InputError, match=r"LazyFrame .*\.collect\(\)"):
        train(lazy)
    with pytest.raises(InputError, match=r"LazyFrame .*\.collect\(\)"):
        train(lazy.collect()).model.predict(lazy)


def test_wider_numbers_than_arrow_knows_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot be read .*i128.*numbers of 64 bits"):
        train(pl.from_pandas(frame(a=CODES)).with_columns(pl.col("a").cast(pl.Int128)))


@pytest.mark.parametrize(("suffix", "words"), [("csv", "is empty"), ("parquet", "cannot be read")])
def test_the_damaged_file_of_a_directory_is_named(tmp_path: Path, suffix: str, words: str) -> None:
    getattr(frame(), {"csv": "to_csv", "parquet": "to_parquet"}[suffix])(tmp_path / f"0.{suffix}")
    (tmp_path / f"1.{suffix}").touch()
    with pytest.raises(InputError, match=rf"/1.{suffix}: {words}"):
        train(tmp_path)
