"""Frames of pandas and Polars: each column trains like the same values in a plain column, or is refused in one line."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

import nnmpi
from nnmpi.training.call import Result

generator = np.random.default_rng(0)
ROWS = 200
CODES = generator.integers(0, 4, ROWS)
X = generator.normal(size=ROWS)
LABELS = np.where(CODES % 2 == 1, "yes", "no")


def train(data: Any, **settings: Any) -> Result:
    return nnmpi.train(data, **{"target": "t", "hidden": (4,), "epochs": 1, **settings})


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"x": X, **columns, "t": LABELS})


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
    model = train(plain.astype({"a": "category", "b": "category"}), epochs=5).model
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
    for source in (data, tmp_path / "table.parquet"):
        classes = train(source).model.classes
        assert classes is not None
        assert classes.dtype == labels.dtype
        assert (classes == np.unique(labels)).all()
    assert train(data, task="regression").model.classes is None


def test_categories_without_any_value_are_no_features() -> None:
    nothing = pd.Series([None] * ROWS, dtype=object).astype("category")
    assert train(frame(a=nothing)).model.columns == ("x",)
    model = train(frame(a=pd.Categorical(CODES))).model
    assert (model.predict(frame(a=nothing)) == model.predict(frame(a=np.full(ROWS, np.nan)))).all()
