"""Tables on the command line and in Python: training, evaluation and prediction from raw rows."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from jobs import CommandServer, Done, Environment, run
from safetensors.numpy import load_file

import nnmpi as package
from nnmpi.data.sources import open_source
from nnmpi.errors import InputError

h5py = pytest.importorskip("h5py")

ROWS = 240
generator = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "distance": generator.normal(size=ROWS),
        "delay": np.where(generator.random(ROWS) < 0.2, np.nan, generator.normal(size=ROWS)),
        "carrier": generator.choice(["UA", "AA", "9E"], ROWS),
        "month": generator.integers(1, 13, ROWS),
    }
)
FRAME["late"] = np.where(FRAME["distance"] + (FRAME["carrier"] == "UA") > 0.3, "yes", "no")
FLAGS = ("--target", "late", "--categories", "month", "--epochs", "30", "--batch-size", "16")


def call(nnmpi: CommandServer, *words: object, cwd: Path | None = None) -> Done:
    return nnmpi(*map(str, words), cwd=cwd, timeout=120)


@pytest.fixture(scope="module")
def trained(nnmpi: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with flights.csv and a run."""
    path = tmp_path_factory.mktemp("flights")
    FRAME.to_csv(path / "flights.csv", index=False)
    call(nnmpi, "train", "flights.csv", *FLAGS, "--output", "run", cwd=path).succeeded()
    return path


def test_the_network_learns_from_all_columns(nnmpi: CommandServer, trained: Path) -> None:
    done = call(nnmpi, "evaluate", "run", cwd=trained).succeeded()
    assert float(done.out.splitlines()[-1].split()[2].rstrip(",")) >= 0.85


def test_raw_rows_are_predicted_in_any_order(nnmpi: CommandServer, trained: Path, tmp_path: Path) -> None:
    expected = call(nnmpi, "predict", "run", "flights.csv", cwd=trained).succeeded().out.split()
    assert np.mean(np.array(expected) == FRAME["late"]) > 0.85
    other = FRAME[["late", "month", "carrier", "delay", "distance"]].drop(columns="late").assign(more="x")
    other.to_csv(tmp_path / "new.csv", index=False)
    other.to_parquet(tmp_path / "new.parquet")
    for name in ("new.csv", "new.parquet"):
        assert call(nnmpi, "predict", trained / "run", tmp_path / name).succeeded().out.split() == expected
    network = package.load(trained / "run")
    for frame in (other, pl.from_pandas(other)):
        assert network.predict(frame).tolist() == expected
    assert network.columns == ("distance", "delay", "carrier", "month")
    assert network.predict_proba(other).shape == (ROWS, 2)


def test_evaluate_takes_other_rows(nnmpi: CommandServer, trained: Path, tmp_path: Path) -> None:
    FRAME[::-1].to_parquet(tmp_path / "new.parquet")
    whole = call(nnmpi, "evaluate", "run", "flights.csv", cwd=trained).succeeded().out.splitlines()[-1]
    assert call(nnmpi, "evaluate", trained / "run", tmp_path / "new.parquet").succeeded().out.splitlines()[-1] == whole


WRONG = {
    "a column less": (FRAME.drop(columns="carrier"), "column carrier, which the model was trained on, is missing"),
    "text for numbers": (
        FRAME.assign(distance="far"),
        "column distance holds text, but the model was trained on numbers",
    ),
    "an infinite number": (FRAME.assign(delay=np.inf), "row 0 (from 0), column delay, is inf"),
}


@pytest.mark.parametrize(("frame", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_predicted_is_named(
    nnmpi: CommandServer, trained: Path, tmp_path: Path, frame: pd.DataFrame, words: str
) -> None:
    frame.to_csv(tmp_path / "new.csv", index=False)
    done = call(nnmpi, "predict", trained / "run", tmp_path / "new.csv")
    assert done.status == 2
    assert len(done.messages) == 1
    assert words in done.messages[0]


def test_a_table_is_not_predicted_from_an_array(nnmpi: CommandServer, trained: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", X=np.ones((3, 4)))
    done = call(nnmpi, "predict", trained / "run", tmp_path / "new.npz")
    assert done.status == 2
    assert "the columns distance, delay, carrier, month" in done.messages[0]
    with pytest.raises(InputError, match="the columns distance, delay, carrier, month"):
        package.load(trained / "run").predict(np.ones((3, 4)))


def test_a_frame_is_trained_on_like_its_file(trained: Path) -> None:
    settings = {"target": "late", "categories": "month", "epochs": 30, "batch_size": 16}
    from_frame = package.train(FRAME, **settings).model
    from_file = package.load(trained / "run")
    assert (from_frame.parameters == from_file.parameters).all()
    without = FRAME.drop(columns="late")
    from_x_and_y = package.train(pl.from_pandas(without), FRAME["late"].to_numpy(), **(settings | {"target": ()}))
    assert (from_x_and_y.model.parameters == from_file.parameters).all()


def test_the_argument_means_the_same_as_the_flag(nnmpi: CommandServer, trained: Path, tmp_path: Path) -> None:
    done = call(nnmpi, "train", "--data", "flights.csv", *FLAGS, "--output", tmp_path / "run", cwd=trained).succeeded()
    assert done.out.splitlines()[-1] == call(nnmpi, "evaluate", "run", cwd=trained).out.splitlines()[-1]
    predicted = call(nnmpi, "predict", "run", "--data", "flights.csv", cwd=trained).succeeded()
    assert predicted.out == call(nnmpi, "predict", "run", "flights.csv", cwd=trained).out
    for words in (("train", "iris"), ("evaluate", "run", "iris"), ("predict", "run", "iris")):
        refused = call(nnmpi, *words, "--data", "wine", cwd=trained)
        assert refused.status == 2
        assert refused.messages == ["nnmpi: DATA is 'iris' and --data is 'wine'; give only one"]
        assert call(nnmpi, *words, "--data", "iris", cwd=trained).messages != refused.messages
    assert call(nnmpi, "predict", "run", cwd=trained).status == 2


def test_equal_numbers_give_the_same_bits_in_all_formats(nnmpi: CommandServer, tmp_path: Path) -> None:
    x, y = generator.normal(size=(100, 3)).astype(np.float32), np.arange(100) % 2
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})
    frame.astype(float).to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", X=np.asfortranarray(x), y=y.astype(float))
    np.save(tmp_path / "X.npy", x)
    np.save(tmp_path / "y.npy", y.astype(np.uint8))
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["X"], file["y"] = x.astype(">f8"), y
    parameters = []
    for name in ("t.csv", "t.parquet", "t.npz", "X.npy", "t.h5"):
        done = call(
            nnmpi, "train", name, "--epochs", "2", "--batch-size", "16", "--output", f"{name}-run", cwd=tmp_path
        )
        done.succeeded()
        tensors = load_file(tmp_path / f"{name}-run" / "model.safetensors")
        tensors.pop("table.fill", None)
        parameters.append(tensors)
    for tensors in parameters[1:]:
        assert tensors.keys() == parameters[0].keys()
        assert all((tensors[key] == parameters[0][key]).all() for key in tensors)


def test_convert_writes_the_same_table(nnmpi: CommandServer, trained: Path, tmp_path: Path, monkeypatch) -> None:
    done = call(nnmpi, "convert", "flights.csv", tmp_path / "flights.parquet", cwd=trained).succeeded()
    assert "240 rows and 5 columns" in done.out
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "flights.parquet"), FRAME, check_dtype=False)
    again = call(nnmpi, "convert", "flights.csv", tmp_path / "flights.parquet", cwd=trained)
    assert again.status == 2
    assert "already exists" in again.messages[0]
    call(nnmpi, "train", tmp_path / "flights.parquet", *FLAGS, "--output", tmp_path / "run").succeeded()
    before, after = (load_file(path / "run" / "model.safetensors") for path in (trained, tmp_path))
    assert all((before[key] == after[key]).all() for key in before)


def test_convert_writes_columns_without_values(nnmpi: CommandServer, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,empty,spelled,y\n1,,?,a\n2,,,\n")
    call(nnmpi, "convert", "t.csv", "t.parquet", cwd=tmp_path).succeeded()
    table = pq.read_table(tmp_path / "t.parquet")
    assert [str(dtype) for dtype in table.schema.types] == ["int64", "null", "null", "string"]
    assert table["y"].to_pylist() == ["a", None]


def test_labels_stay_text_where_all_look_like_numbers(nnmpi: CommandServer, tmp_path: Path) -> None:
    table = pd.DataFrame({"x": generator.normal(size=60), "y": ["012", "13", "12A"] * 20})
    table.to_csv(tmp_path / "t.csv", index=False)
    table[table["y"] != "12A"].to_csv(tmp_path / "numbers.csv", index=False)
    flags = "--epochs", "1", "--test-data", "numbers.csv", "--output", "run"
    done = call(nnmpi, "train", "t.csv", *flags, cwd=tmp_path).succeeded()
    scores = call(nnmpi, "evaluate", "run", "numbers.csv", cwd=tmp_path).succeeded().out.splitlines()[-1]
    assert scores == done.out.splitlines()[-1]


def test_without_pyarrow_its_extra_is_named(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.csv", None)
    with pytest.raises(InputError, match=r"needs pyarrow.*pip install 'nnmpi\[tables\]'"):
        open_source(str(trained / "flights.csv"))


def test_flags_for_tables_are_refused_for_arrays(nnmpi: CommandServer, tmp_path: Path) -> None:
    done = call(nnmpi, "train", "iris", "--target", "y", cwd=tmp_path)
    assert done.status == 2
    assert "are for tables" in done.messages[0]


@pytest.fixture(scope="module")
def deterministic(nnmpi: CommandServer, trained: Path) -> tuple[bytes, str]:
    """The model of a deterministic run on one rank, ``alone`` beside flights.csv, and its predictions."""
    call(nnmpi, "train", "flights.csv", *FLAGS, "--deterministic", "--output", "alone", cwd=trained).succeeded()
    predicted = call(nnmpi, "predict", "alone", "flights.csv", cwd=trained).succeeded().out
    return (trained / "alone/model.safetensors").read_bytes(), predicted


@pytest.mark.mpi
@pytest.mark.in_turn
@pytest.mark.parametrize("ranks", [2, 3])
def test_all_world_sizes_train_the_same_bits(
    mpi: Environment, trained: Path, deterministic: tuple[bytes, str], tmp_path: Path, ranks: int
) -> None:
    words = ("train", "flights.csv", *FLAGS, "--deterministic", "--output", str(tmp_path / "run"))
    run(mpi.nnmpi(ranks, *words), trained).succeeded()
    predicted = run(mpi.nnmpi(ranks, "predict", "alone", "flights.csv"), trained).succeeded().out
    assert ((tmp_path / "run/model.safetensors").read_bytes(), predicted) == deterministic
