"""Tables: the encoding equals scikit-learn's for the whole training part, on any number of ranks."""

import dataclasses
import datetime
import itertools
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from ranks import on_ranks
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nnmpi import train
from nnmpi.data.parts import split
from nnmpi.data.scaler import Scaler
from nnmpi.data.shards import held_shards, shard_rows
from nnmpi.data.sources import Columns, Source, open_source
from nnmpi.data.sources.arrays import arrays
from nnmpi.data.table import Encoding, fit_encoding
from nnmpi.errors import CommandError, InputError
from nnmpi.training.gather_targets import gather_targets
from nnmpi.training.read_together import read_together

ROWS, TRAINING = 300, 200
generator = np.random.default_rng(0)


def a_frame(rows=ROWS) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "distance": generator.normal(1e6, 1.0, rows),
            "delay": np.where(generator.random(rows) < 0.2, np.nan, generator.exponential(30, rows)),
            "carrier": generator.choice(["UA", "AA", "9E", 'ünal, "quoted"\nline'], rows),
            "gate": generator.choice(["A1", "B2", None], rows),
            "month": generator.integers(1, 13, rows),
            "constant": np.full(rows, 0.1),
            "late": generator.choice(["no", "yes"], rows),
        }
    )
    frame.loc[TRAINING + 3, "carrier"] = "only in the test part"
    frame.loc[TRAINING + 4, "distance"] = np.nan  # missing in the test part only
    return frame


FRAME = a_frame()
COLUMNS = Columns(target=("late",), categories=("month",))


def scikit_learn(frame: pd.DataFrame) -> np.ndarray:
    numbers, categories = ["distance", "delay", "constant"], ["carrier", "gate", "month"]
    lists = [sorted(frame[c][:TRAINING].dropna().unique()) for c in categories]
    encoder = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            ("categories", OneHotEncoder(categories=lists, handle_unknown="ignore", sparse_output=False), categories),
        ]
    )
    return encoder.fit(frame[:TRAINING]).transform(frame)


def csv(frame, path):
    frame.to_csv(path / "table.csv", index=False)
    return str(path / "table.csv")


def csv_gz(frame, path):
    frame.to_csv(path / "table.csv.gz")  # with the row numbers that pandas writes by default
    return str(path / "table.csv.gz")


def tsv(frame, path):
    frame.to_csv(path / "table.tsv", sep="\t", index=False)
    return str(path / "table.tsv")


def semicolons(frame, path):
    frame.to_csv(path / "table.csv", sep=";", decimal=",", index=False, lineterminator="\r\n", encoding="utf-8-sig")
    return str(path / "table.csv")


def parquet(frame, path):
    frame.to_parquet(path / "table.parquet", row_group_size=37)
    return str(path / "table.parquet")


def categorical_parquet(frame, path):
    frame.astype({"carrier": "category", "late": "category"}).to_parquet(path / "table.parquet", row_group_size=77)
    return str(path / "table.parquet")


def directory(frame, path):
    for i in range(4):
        frame[i * 75 : (i + 1) * 75].to_csv(path / f"part-{i}.csv", index=False)
    return str(path)


def parquet_directory(frame, path):
    for i in range(3):
        frame[i * 100 : (i + 1) * 100].to_parquet(path / f"part-{i}.parquet", index=False)
    return str(path)


WRITERS = [csv, csv_gz, tsv, semicolons, parquet, categorical_parquet, directory, parquet_directory]


def rows_of(source, rows):
    out = np.full((len(rows), source.features), 77.0)
    source.read(np.asarray(rows), out)
    return out


def fitted(source, ranks: int, training: int = TRAINING, shards: int = 8) -> list[Encoding]:
    def fit(world):
        held = held_shards(shards, world.size, world.rank)
        parts = [rows_of(source, shard_rows(np.arange(training), shards, shard)) for shard in held]
        return fit_encoding(
            source.name, source.columns, source.texts, lambda: parts, world.gather_rows, world.gather_bytes
        )

    return on_ranks(ranks, fit)


def features(source, encoding) -> np.ndarray:
    out = np.full((source.size, len(encoding.scaler.mean)), 77.0)
    encoding.transform(rows_of(source, np.arange(source.size)), out)
    return out


@pytest.mark.parametrize("write", WRITERS)
def test_the_encoding_is_that_of_scikit_learn(tmp_path, write):
    source = open_source(write(FRAME, tmp_path), columns=COLUMNS)
    (encoding,) = fitted(source, 1)
    encoded, expected = features(source, encoding), scikit_learn(FRAME)
    assert encoded.shape == expected.shape
    assert np.abs(encoded - expected).max() < 1e-12
    assert (source.y == FRAME["late"]).all()


@pytest.mark.parametrize("with_texts", [True, False])
def test_what_was_never_missing_in_training_is_filled_with_the_mean(tmp_path, with_texts):
    numbers = ["distance", "month", "constant"]
    frame = FRAME[[*numbers, *(["carrier"] if with_texts else []), "late"]].copy()
    frame.loc[TRAINING:, numbers] = np.nan
    source = open_source(csv(frame, tmp_path), columns=Columns(target=("late",)))
    (encoding,) = fitted(source, 1)
    mean = SimpleImputer().fit(frame[numbers][:TRAINING]).statistics_
    assert np.abs(encoding.fill[:3] / mean - 1).max() < 1e-14
    assert (features(source, encoding)[TRAINING:, :3] == 0).all()


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_the_encoding_is_the_same_on_any_number_of_ranks(tmp_path, ranks):
    source = open_source(csv(FRAME, tmp_path), columns=COLUMNS)
    (alone,) = fitted(source, 1)
    for encoding in fitted(source, ranks):
        assert encoding.to_json() == alone.to_json()
        assert (encoding.fill == alone.fill).all()
        assert (encoding.scaler.mean == alone.scaler.mean).all()
        assert (encoding.scaler.scale == alone.scaler.scale).all()


def test_all_formats_and_frames_give_the_same_bits(tmp_path):
    sources = []
    for i, write in enumerate(WRITERS):
        (tmp_path / str(i)).mkdir()
        sources.append(open_source(write(FRAME, tmp_path / str(i)), columns=COLUMNS))
    expected = rows_of(sources[0], np.arange(ROWS))
    for source in sources:
        assert source.columns == sources[0].columns
        assert np.array_equal(rows_of(source, np.arange(ROWS)), expected, equal_nan=True)


@pytest.mark.parametrize("write", [csv, parquet, directory])
@pytest.mark.parametrize("rows", [[299, 0, 7, 7], [], [150], range(40, 90), np.random.default_rng(0).permutation(300)])
def test_any_rows(tmp_path, write, rows):
    source = open_source(write(FRAME, tmp_path), columns=COLUMNS)
    rows = np.asarray(rows, np.intp)
    assert np.array_equal(rows_of(source, rows), rows_of(source, np.arange(ROWS))[rows], equal_nan=True)


def test_an_encoding_is_plain_data(tmp_path):
    source = open_source(csv(FRAME, tmp_path), columns=COLUMNS)
    (encoding,) = fitted(source, 1)
    plain = json.loads(json.dumps(encoding.to_json()))
    again = Encoding.from_json(plain, encoding.fill, encoding.scaler)
    assert (features(source, again) == features(source, encoding)).all()
    assert again.feature_names[:5] == ["distance", "delay", "constant", "missingindicator_delay", "carrier_9E"]


BAD_JSON = {
    "no columns": {"columns": [], "categories": []},
    "another kind": {"columns": [["a", "dates", ""]], "categories": []},
    "another part": {"columns": [["a", "number", "century"]], "categories": []},
    "a column twice": {"columns": [["a", "number", ""], ["a", "number", ""]], "categories": []},
    "categories of numbers": {"columns": [["a", "number", ""]], "categories": [["x"]]},
    "numbers as texts": {"columns": [["a", "text", ""]], "categories": [[1]]},
    "not ascending": {"columns": [["a", "text", ""]], "categories": [["b", "a"]]},
    "indicator of text": {"columns": [["a", "text", ""]], "categories": [["a"]], "indicators": [0]},
    "too many features": {"columns": [["a", "text", ""]], "categories": [["a", "b"]]},
}


@pytest.mark.parametrize("description", BAD_JSON.values(), ids=BAD_JSON)
def test_damaged_descriptions_are_refused(description):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Encoding.from_json({"indicators": [], **description}, np.zeros(1), Scaler(np.zeros(1), np.ones(1)))


def test_a_model_takes_columns_in_any_order(tmp_path):
    source = open_source(csv(FRAME, tmp_path), columns=COLUMNS)
    (encoding,) = fitted(source, 1)
    other = FRAME[FRAME.columns[::-1]].drop(columns="late").assign(more=1)
    (tmp_path / "new").mkdir()
    for write in (csv, parquet):
        new = open_source(write(other, tmp_path / "new"), targets=False, known=encoding.columns)
        assert (features(new, encoding) == features(source, encoding)).all()


def changed(**columns):
    return FRAME.assign(**columns)


NEW = {
    "a column less": (FRAME.drop(columns="gate"), "column gate, which the model was trained on, is missing"),
    "text for numbers": (changed(delay="x"), "column delay holds text, but the model was trained on numbers"),
    "text for codes": (changed(month="May"), "column month holds text, but the model was trained on numbers"),
    "dates for numbers": (
        changed(delay="2013-01-01"),
        "column delay holds dates, but the model was trained on numbers",
    ),
}


@pytest.mark.parametrize(("frame", "words"), NEW.values(), ids=NEW)
def test_what_a_model_cannot_use_is_named(tmp_path, frame, words):
    known = open_source(csv(FRAME, tmp_path), columns=COLUMNS).columns
    with pytest.raises(InputError, match=words):
        open_source(csv(frame, tmp_path), targets=False, known=known)


def test_texts_that_look_like_numbers_stay_texts(tmp_path):
    """In the rows to predict, a column of texts may hold only numbers."""
    frame = pd.DataFrame({"zip": ["01", "1", "x"] * 10, "y": [0, 1, 0] * 10})
    source = open_source(csv(frame, tmp_path))
    (encoding,) = fitted(source, 1, 30)
    new = open_source(csv(frame[:2], tmp_path), targets=False, known=encoding.columns)
    assert (features(new, encoding) == [[1, 0, 0], [0, 1, 0]]).all()


def test_dates_become_their_parts(tmp_path):
    times = pd.to_datetime(
        ["2013-02-28 23:59:58.25", "2016-02-29 00:00:00", None, "1969-12-31 12:30:00"], format="ISO8601"
    )
    frame = pd.DataFrame({"when": times, "day": ["2020-01-05", "2020-01-06", "", "1999-12-31"], "y": [0, 1, 0, 1]})
    for write in (csv, parquet):
        source = open_source(write(frame, tmp_path))
        labels = [column.label for column in source.columns]
        expected = np.full((4, 7), np.nan)
        expected[0] = 2013, 2, 28, 3, 23, 59, 58.25
        expected[1] = 2016, 2, 29, 0, 0, 0, 0
        expected[3] = 1969, 12, 31, 2, 12, 30, 0
        assert labels[:7] == ["when." + p for p in ("year", "month", "day", "weekday", "hour", "minute", "second")]
        assert np.array_equal(rows_of(source, np.arange(4))[:, :7], expected, equal_nan=True)
        if write is csv:
            assert labels[7:] == ["day.year", "day.month", "day.day", "day.weekday"]
            assert rows_of(source, [0, 3])[:, 7:].tolist() == [[2020, 1, 5, 6], [1999, 12, 31, 4]]


def test_a_date_has_one_indicator(tmp_path):
    frame = pd.DataFrame({"day": ["2020-01-05", "", "1999-12-31"], "y": [0, 1, 0]})
    source = open_source(csv(frame, tmp_path))
    (encoding,) = fitted(source, 1, 3, 1)
    assert encoding.feature_names[-1] == "missingindicator_day.year"
    assert len(encoding.feature_names) == 5


def test_identifiers_are_refused_with_advice(tmp_path):
    frame = pd.DataFrame({"id": [f"row {i}" for i in range(50)], "x": range(50), "y": [0, 1] * 25})
    source = open_source(csv(frame, tmp_path))
    for ranks in (1, 3):
        with pytest.raises(InputError, match=r"column id holds a different text in each row.*--drop id"):
            fitted(source, ranks, 50)
    without = open_source(csv(frame, tmp_path), columns=Columns(drop=("id",)))
    assert [column.name for column in without.columns] == ["x"]


@pytest.mark.parametrize("write", [csv, parquet])
def test_categories_that_float64_rounds_are_refused(tmp_path, write):
    for first, refused in ((2**53 - 2, False), (2**53, True), (2**60, True), (-(2**60), True)):
        frame = pd.DataFrame({"id": [first, first + 1] * 25, "y": [0, 1] * 25})
        source = open_source(write(frame, tmp_path), columns=Columns(categories=("id",)))
        if refused:
            for ranks in (1, 3):
                with pytest.raises(InputError, match=rf"column id holds categories such as -?{abs(first)}: .* as text"):
                    fitted(source, ranks, 50)
        else:
            (encoding,) = fitted(source, 1, 50)
            assert encoding.categories == {0: (first, first + 1)}
            new = open_source(write(frame.assign(id=2**53 + 1), tmp_path), targets=False, known=encoding.columns)
            assert not features(new, encoding).any()


KIND_OF = {
    "whole numbers, then a fraction": (["1"] * 5000 + ["2.5"], "number"),
    "numbers, then a text": (["1"] * 5000 + ["x"], "text"),
    "dates, then a text": (["2020-01-01"] * 5000 + ["soon"], "text"),
    "missing, then a text": ([""] * 5000 + ["x"], "text"),
    "truth": (["true", "False", ""] * 10, "number"),
    "spaces": ([" 1", "2 ", " 3.5 "] * 10, "number"),
    "hexadecimal": (["0x10", "0x11"] * 10, "text"),
    "huge": (["99999999999999999999", "1"] * 10, "number"),
    "missing as spaces": (["1", " ", "  NA", "2.5"] * 10, "number"),
    "missing as in other programs": (["1", "None", "?", "-", ".", "2.5"] * 10, "number"),
    "no number": (["None", "?", "red"] * 10, "text"),
}


@pytest.mark.parametrize(("values", "kind"), KIND_OF.values(), ids=KIND_OF)
def test_a_kind_holds_for_the_whole_file(tmp_path, monkeypatch, values, kind):
    monkeypatch.setattr("nnmpi.data.sources.csv.BLOCK", 256)
    frame = pd.DataFrame({"x": values, "y": np.arange(len(values)) % 2})
    assert open_source(csv(frame, tmp_path)).columns[0].kind == kind


def test_spellings_of_missing_are_missing(tmp_path):
    missing = ["", " ", " NA ", "None", "?", "-", ".", "NaT"]
    frame = pd.DataFrame({"x": [*missing, "1", " 2"], "day": [" 2020-01-01", "2020-01-02 ", *missing], "y": range(10)})
    source = open_source(csv(frame, tmp_path))
    rows = np.empty((10, 5))
    source.read(np.arange(10), rows)
    assert [column.label for column in source.columns] == ["x", "day.year", "day.month", "day.day", "day.weekday"]
    assert_array_equal(rows[:, 0], [*[np.nan] * 8, 1, 2])
    assert_array_equal(rows[:, 3], [1, 2, *[np.nan] * 8])


def test_columns_without_values_are_no_features(tmp_path):
    frame = pd.DataFrame({"x": range(3), "empty": [None] * 3, "spelled": ["?", " ", None], "y": [0, 1, 0]})
    source = open_source(csv(frame, tmp_path))
    assert [column.name for column in source.columns] == ["x"]
    dates = open_source(csv(frame.assign(spelled="2020-01-01"), tmp_path)).columns
    rows = np.empty((3, 5))
    open_source(csv(frame, tmp_path), known=dates).read(np.arange(3), rows)
    assert np.isnan(rows[:, 1:]).all()


def test_dates_after_a_block_without_any(tmp_path, monkeypatch):
    monkeypatch.setattr("nnmpi.data.sources.csv.BLOCK", 256)
    frame = pd.DataFrame({"day": ["-"] * 1000 + ["2020-01-02"], "y": np.arange(1001) % 2})
    assert open_source(csv(frame, tmp_path)).columns[0].part == "year"


@pytest.mark.parametrize("digits", ["12:00:00.123456789", "12:00:00.123456789Z"])
def test_times_of_nanoseconds_are_times(tmp_path, digits):
    source = open_source(csv(pd.DataFrame({"t": [f"2020-01-01 {digits}"] * 4, "y": [0, 1] * 2}), tmp_path))
    rows = np.empty((4, 7))
    source.read(np.arange(4), rows)
    assert rows[0].tolist() == [2020, 1, 1, 2, 12, 0, 0.123456789]


def test_a_date_is_the_midnight_of_a_model_with_times(tmp_path):
    # pandas writes times that are all midnight as dates
    times = open_source(csv(pd.DataFrame({"t": ["2020-01-01 12:30:00"] * 4, "y": [0, 1] * 2}), tmp_path))
    for write in (csv, parquet):
        days = pd.DataFrame({"t": [datetime.date(2021, 2, 3)] * 4, "y": [0, 1] * 2})
        rows = np.empty((4, 7))
        open_source(write(days, tmp_path), known=times.columns).read(np.arange(4), rows)
        assert rows[0].tolist() == [2021, 2, 3, 2, 0, 0, 0]


@pytest.mark.parametrize("write", [csv, parquet])
def test_dates_may_all_be_missing_in_rows_of_a_model(tmp_path, write):
    times = open_source(csv(pd.DataFrame({"t": ["2020-01-01 12:30:00"] * 4, "y": [0, 1] * 2}), tmp_path))
    rows = np.empty((4, 7))
    open_source(write(pd.DataFrame({"t": [None] * 4, "y": [0, 1] * 2}), tmp_path), known=times.columns).read(
        np.arange(4), rows
    )
    assert np.isnan(rows).all()


def test_a_column_named_like_a_part_of_a_date_is_refused(tmp_path):
    frame = pd.DataFrame({"t.month": range(4), "t": ["2020-01-01"] * 4, "y": [0, 1] * 2})
    with pytest.raises(InputError, match=r"t\.month has the name of the month of the dates in column t: rename one"):
        open_source(csv(frame, tmp_path))
    assert len(open_source(csv(frame, tmp_path), columns=Columns(drop=("t.month",))).columns) == 4


@pytest.mark.parametrize(
    ("delimiter", "values", "numbers"),
    [
        ("\t", ["1,234", "999", " 12,345"], None),
        ("|", ["1,234", "-2,500"], None),
        (";", ["1,234", "999"], [1.234, 999]),
        ("\t", ["1,234", "0,500"], [1.234, 0.5]),
        ("\t", ["1,234", "2,5"], [1.234, 2.5]),
    ],
)
def test_commas_that_may_separate_thousands_are_refused(tmp_path, delimiter, values, numbers):
    path = tmp_path / "t.csv"
    path.write_text("".join(f"{a}{delimiter}{b}\n" for a, b in [("x", "y"), *((v, i) for i, v in enumerate(values))]))
    if numbers is None:
        with pytest.raises(InputError, match=r"commas in column x may be decimal commas or separate thousands"):
            open_source(str(path))
    else:
        rows = np.empty((len(values), 1))
        open_source(str(path)).read(np.arange(len(values)), rows)
        assert rows[:, 0].tolist() == numbers


@pytest.mark.slow
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_lines_longer_than_a_block(tmp_path, monkeypatch, delimiter):
    monkeypatch.setattr("nnmpi.data.sources.csv.BLOCK", 256)
    names = [f"a column with a name of many characters {i}" for i in range(5000)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(delimiter.join(line) for line in ([*names, "y"], *([str(i)] * 5001 for i in range(3)))))
    source = open_source(str(path))
    rows = np.empty((3, 5000))
    source.read(np.arange(3), rows)
    assert [column.name for column in source.columns] == names
    assert (rows == np.arange(3)[:, None]).all()


@pytest.mark.parametrize("known", [True, False])
def test_a_missing_target_names_no_flag_of_another_command(tmp_path, known):
    frame = pd.DataFrame({"x": range(4), "late": [0, 1] * 2})
    trained_on = open_source(csv(frame, tmp_path), columns=Columns(("late",)))
    path = csv(frame.rename(columns={"late": "delayed"}), tmp_path)
    if known:
        with pytest.raises(InputError, match=r"column late, the target of the training, is missing; its columns are x"):
            open_source(path, columns=Columns(("late",)), known=trained_on.columns)
    else:
        with pytest.raises(InputError, match=r"--target of train, or call it target, y, label or class; its columns"):
            open_source(path)


def test_targets_keep_their_kind(tmp_path):
    frame = pd.DataFrame(
        {
            "x": range(6),
            "whole": [2**53 + 1, 2**53 + 2] * 3,
            "number": [0.5, 1, 2, 3, 4, 5],
            "truth": [True, False] * 3,
            "text": ["a", "b"] * 3,
        }
    )
    kinds = {"whole": "i", "number": "f", "truth": "b", "text": "U"}
    for write, (name, kind) in itertools.product((csv, parquet), kinds.items()):
        y = open_source(write(frame, tmp_path), columns=Columns(target=(name,))).y
        assert y.dtype.kind == kind
        assert (y == frame[name]).all()
    several = open_source(csv(frame, tmp_path), columns=Columns(target=("number", "whole")))
    assert several.y.shape == (6, 2)
    assert [column.name for column in several.columns] == ["x", "truth", "text"]


def test_whole_numbers_of_64_bits_are_exact_targets(tmp_path):
    for first, dtype in ((2**63, np.uint64), (2**64 - 2, np.uint64), (-(2**63), np.int64)):
        frame = pd.DataFrame({"x": range(10), "y": np.array([first, first + 1] * 5, dtype)})
        for write in (csv, parquet):
            y = open_source(write(frame, tmp_path)).y
            assert y.dtype == dtype
            assert (y == frame["y"]).all()
    frame = pd.DataFrame({"x": range(10), "y": [-1, 2**63] * 5})
    assert open_source(csv(frame, tmp_path)).y.dtype == np.float64


def test_a_target_named_so_needs_no_flag(tmp_path):
    for name in ("y", "target", "class"):
        assert open_source(csv(FRAME.rename(columns={"late": name}), tmp_path)).y[0] == FRAME["late"][0]


def test_polars_and_pandas_write_alike(tmp_path):
    pl.from_pandas(FRAME).write_parquet(tmp_path / "polars.parquet")
    source = open_source(str(tmp_path / "polars.parquet"), columns=COLUMNS)
    expected = open_source(parquet(FRAME, tmp_path), columns=COLUMNS)
    assert np.array_equal(rows_of(source, np.arange(ROWS)), rows_of(expected, np.arange(ROWS)), equal_nan=True)


def test_objects_from_python_are_texts_or_numbers():
    x, y = FRAME[["distance", "month"]].to_numpy(object), FRAME["late"].to_numpy(object)
    source = arrays(x, y)
    assert source.dtype == np.float64
    assert source.y.tolist() == FRAME["late"].tolist()
    with pytest.raises(InputError, match=r"different types \(int, str\)"):
        arrays(x, np.array([1, "a"] * 150, object))


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_pieces_are_read_by_one_rank_each(tmp_path, monkeypatch, ranks):
    monkeypatch.setattr("nnmpi.data.sources.arrow.LARGE", 1)
    monkeypatch.setattr("nnmpi.data.sources.parquet.ROWS_AT_ONCE", 10)
    reads = []
    name = parquet(FRAME, tmp_path)
    expected = open_source(csv(FRAME, tmp_path), columns=COLUMNS)

    def read(world):
        source = open_source(name, columns=COLUMNS)
        original_blocks = source.blocks

        def counted(first, stop):
            reads.append((first, stop))
            return original_blocks(first, stop)

        source = gather_targets(dataclasses.replace(source, blocks=counted), world)
        rows = np.random.default_rng(world.rank).permutation(np.arange(world.rank, ROWS, 2)[: 90 + world.rank])
        out = np.full((len(rows), source.features), 77.0)
        read_together(source, rows, out, world)
        assert (source.y == FRAME["late"]).all()
        assert set(expected_texts(out)) <= set(source.texts)
        return np.array_equal(out, rows_of(expected, rows), equal_nan=True)

    def expected_texts(out):
        return (v for i, c in enumerate(expected.columns) if c.kind == "text" for v in out[:, i] if v == v)

    assert on_ranks(ranks, read) == [True] * ranks
    assert len(reads) == len(set(reads))


def test_pieces_of_float32(tmp_path, monkeypatch):
    monkeypatch.setattr("nnmpi.data.sources.arrow.LARGE", 1)
    name = parquet(pd.DataFrame({"x": np.arange(30, dtype=np.float32), "y": [0, 1] * 15}), tmp_path)

    def read(world):
        source, rows = open_source(name), np.arange(world.rank, 30, 2)
        out = np.empty((15, 1), source.dtype)
        read_together(source, rows, out, world)
        return source.dtype == np.float32 and (out[:, 0] == rows).all()

    assert all(on_ranks(2, read))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, "^--data big: has changed: it has fewer rows than before"),
        (MemoryError(), "^not enough memory"),
        (OSError(5, "Input/output error", "big"), "^big: Input/output error"),
        (pa.ArrowInvalid("bad page"), "^ArrowInvalid: bad page"),
    ],
)
def test_every_error_in_a_piece_reaches_all_ranks(error, message, shared):
    def blocks(first, stop):
        yield first, np.zeros((5, 1))
        if error:
            raise error

    def read(world):
        source = Source("big", None, 20, 1, None, bounds=(0, 10, 20), blocks=blocks)
        rows = np.arange(20) if shared else np.arange(10 * world.rank, 10 * world.rank + 10)
        with pytest.raises(CommandError, match=message) as caught:
            read_together(source, rows, np.empty((len(rows), 1)), world)
        return str(caught.value)

    assert len(set(on_ranks(2, read))) == 1


@pytest.mark.parametrize(
    "values",
    [
        *([0.5, 1.5, 2.5], [2**63 + 1, 0, 5], [-3, 200, 7], [-1, 2**60 + 1, 2**60], [-(2**63), 0, 2**63 - 1]),
        *([-129, -3, -2], [True, False, True], ["a", "ü", "b"]),
    ],
)
def test_targets_read_in_parts_are_whole(tmp_path, monkeypatch, values):
    monkeypatch.setattr("nnmpi.data.sources.arrow.LARGE", 1)
    frame = pd.DataFrame({"x": range(33), "y": pd.Series(values * 11, dtype="uint64" if 2**63 + 1 in values else None)})
    name = parquet(frame, tmp_path)
    for y in on_ranks(4, lambda world: gather_targets(open_source(name), world).y):
        assert y.tolist() == frame["y"].tolist()
        assert y.dtype.kind in ("U" if isinstance(values[0], str) else "iu" if frame["y"].dtype.kind in "iu" else "fb")


def test_large_sources_are_split_row_by_row(monkeypatch):
    source = dataclasses.replace(arrays(np.zeros((200_000, 2)), np.arange(200_000) % 2))
    monkeypatch.setattr("nnmpi.data.sources.source.LARGE", 1)
    parts = split(source, 0.2, 0.25, 5, False)
    rows = np.concatenate([parts.training, parts.validation, parts.test])
    assert (np.sort(rows) == np.arange(200_000)).all()
    for part, share in ((parts.training, 0.6), (parts.validation, 0.2), (parts.test, 0.2)):
        assert (np.diff(part.astype(int)) > 0).all()
        assert len(part) == pytest.approx(share * 200_000, rel=0.02)
    longer = split(arrays(np.zeros((300_000, 2)), np.zeros(300_000, int)), 0.2, 0.25, 5, False)
    assert (longer.test[: len(parts.test)] == parts.test).all()
    assert not np.array_equal(split(source, 0.2, 0.25, 6, False).test, parts.test)


def test_a_large_csv_file_says_how_to_convert_it(tmp_path, monkeypatch):
    name = csv(FRAME, tmp_path)
    assert open_source(name, columns=COLUMNS).note == ""
    monkeypatch.setattr("nnmpi.data.sources.csv.LARGE", 1000)
    assert f"nnmpi convert {name} table.parquet" in open_source(name, columns=COLUMNS).note


def test_the_footer_of_a_parquet_file_is_read_once(tmp_path, monkeypatch):
    """The footer may be long, and a file has many row groups."""
    name, footers = parquet(FRAME, tmp_path), []
    original = pq.ParquetFile

    def opened(path, metadata=None, **more):
        footers.append(metadata)
        return original(path, metadata=metadata, **more)

    monkeypatch.setattr(pq, "ParquetFile", opened)
    source = open_source(name, columns=COLUMNS)
    source.read(np.arange(source.size), np.empty((source.size, source.features), source.dtype))
    assert len(footers) > 3
    assert footers.count(None) == 1


def test_flags_name_columns_with_spaces_around_their_names(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x, id, late, w\n" + "".join(f"{i}, row {i}, {i % 2}, 1\n" for i in range(30)))
    source = open_source(str(path), columns=Columns(("late",), ("id",), ("x",), "w"))
    assert source.target == (" late",)
    assert [(column.name, column.kind) for column in source.columns] == [("x", "code")]
    assert source.weights is not None
    (tmp_path / "both.csv").write_text("x, late,late\n1,0,1\n2,0,1\n")
    assert open_source(str(tmp_path / "both.csv"), columns=Columns(("late",))).target == ("late",)


@pytest.mark.parametrize("beside", [True, False])
def test_partitions_are_refused(tmp_path, beside):
    frame = pd.DataFrame({"x": range(4), "year": [2020, 2021] * 2, "y": [0, 1] * 2})
    frame.to_parquet(tmp_path / "table", partition_cols=["year"])
    if beside:
        frame.to_parquet(tmp_path / "table" / "rest.parquet")
    with pytest.raises(
        InputError, match=r"has partitions such as year=2020, .* write one file, for example with pandas"
    ):
        open_source(str(tmp_path / "table"))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("values", [["a", "b"], [True, False]])
def test_missing_targets_in_objects_are_named(missing, values):
    y = pd.Series([*values * 3, missing], dtype=object)
    for x in (np.zeros((7, 1)), pd.DataFrame({"x": range(7)})):
        with pytest.raises(InputError, match=r"y (is missing a value in|of) row 6 \(from 0\).*remove such rows"):
            train(x, y)
