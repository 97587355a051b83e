"""``nnmpi export``: exported ONNX and scikit-learn models predict the same as nnmpi, from raw rows."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jobs import ROOT, CommandServer, Run, needed, run
from sklearn.datasets import load_digits

import nnmpi as package
from nnmpi.commands import export as command
from nnmpi.data.scaler import Scaler
from nnmpi.data.targets import Targets
from nnmpi.errors import InputError, RunError
from nnmpi.export import exported
from nnmpi.export.check import difference, runner
from nnmpi.files.model import Model, Recipe, write_model
from nnmpi.nn.architecture import Architecture
from nnmpi.trained import TrainedNetwork

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
skops = pytest.importorskip("skops.io")

Train = Callable[..., Run]
SUFFIXES = (".onnx", ".skops", ".joblib")
DATES = "nnmpi.export.date_columns.DateColumns"
TOLERANCE = 1e-9

TEXTS, TRUTHS, LARGE, SIGNED = np.array(["a", "bb", "ç"]), np.array([False, True]), np.uint64([3, 2**64 - 1]), [-1, 1]
# activation, output activation, loss, dtype, hidden layers, classes, outputs
NETWORKS: dict[str, tuple[str, str, str, str, tuple[int, ...], Any, int]] = {
    "softmax": ("relu", "softmax", "cross-entropy", "float32", (8,), TEXTS, 3),
    "softmax of two": ("tanh", "softmax", "cross-entropy", "float32", (8, 5), TRUTHS, 2),
    "no hidden layer": ("relu", "softmax", "mse", "float64", (), TEXTS, 3),
    "one sigmoid": ("sigmoid", "sigmoid", "binary-cross-entropy", "float32", (8,), LARGE, 1),
    "one sigmoid in float64": ("sigmoid", "sigmoid", "binary-cross-entropy", "float64", (8,), np.array(SIGNED), 1),
    "two sigmoids": ("identity", "sigmoid", "mse", "float32", (8,), TRUTHS, 2),
    "identity": ("relu", "identity", "mse", "float32", (8,), TEXTS, 3),
    "identity of two": ("relu", "identity", "mse", "float64", (8,), TRUTHS, 2),
    "one number": ("relu", "identity", "mse", "float32", (8,), None, 1),
    "two numbers": ("tanh", "identity", "mse", "float64", (8,), None, 2),
    "two labels": ("tanh", "sigmoid", "binary-cross-entropy", "float32", (8,), None, 2),
    "three labels": ("relu", "sigmoid", "binary-cross-entropy", "float64", (8,), None, 3),
}


def network(kind: str) -> Model:
    """A network of six features with random parameters."""
    activation, output_activation, loss, dtype, hidden, classes, outputs = NETWORKS[kind]
    generator = np.random.default_rng(1)
    architecture = Architecture((6, *hidden, outputs), activation, output_activation, loss, dtype)
    parameters = generator.normal(size=architecture.parameters).astype(dtype)
    scaler = Scaler(generator.normal(size=6) * 1e6, generator.uniform(0.1, 9, 6))
    target_scaler = Scaler(np.full(outputs, 150.0), np.full(outputs, 77.0)) if output_activation == "identity" else None
    if classes is not None:
        targets, target_scaler = Targets("binary" if outputs == 1 else "one-hot", classes, outputs), None
    elif target_scaler:
        targets = Targets("numbers", None, outputs)
    else:
        targets = Targets("labels", None, outputs, tuple("abc"[:outputs]))
    return Model(architecture, parameters, scaler, target_scaler, targets, Recipe("arrays", 0.2, 0, False))


def samples(model: Model, rows: int = 300) -> np.ndarray:
    return model.scaler.mean + model.scaler.scale * np.random.default_rng(2).normal(size=(rows, 6))


def check_predictions(predicted: tuple[np.ndarray, np.ndarray | None], trained: TrainedNetwork, raw: Any) -> None:
    """Compare labels and probabilities, or numbers, with those of nnmpi."""
    (values, probabilities), expected = predicted, trained.predict(raw)
    assert values.shape == expected.shape
    if trained._model.targets.task == "regression":
        assert trained._model.target_scaler is not None
        deviation = trained._model.target_scaler.scale.max()
        np.testing.assert_allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE * deviation)
        return
    assert values.tolist() == expected.tolist()
    if trained.classes is None:
        assert set(values.ravel().tolist()) == {0, 1}
    else:
        assert set(values.tolist()) == set(trained.classes.tolist())
    if trained.architecture.output_activation == "identity":
        assert probabilities is None
    else:
        assert probabilities is not None
        np.testing.assert_allclose(probabilities, trained.predict_proba(raw), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_network_predicts_the_same(kind: str, suffix: str) -> None:
    model = network(kind)
    raw = samples(model)
    check_predictions(runner(exported(model, suffix), suffix, model)(raw), TrainedNetwork(model), raw)


@pytest.mark.parametrize("kind", NETWORKS)
def test_graphs_are_valid_and_say_their_classes(kind: str) -> None:
    graph = onnx.load_model_from_string(exported(network(kind), ".onnx"))
    onnx.checker.check_model(graph, full_check=True)
    (metadata,) = graph.metadata_props
    classes = NETWORKS[kind][5]
    expected = ("targets", "[]") if classes is None else ("classes", str(np.array(classes).tolist()).lower())
    if "labels" in kind:
        expected = ("labels", str(list("abc")[: NETWORKS[kind][6]]))
    assert (metadata.key, metadata.value.replace("\\u00e7", "ç").replace('"', "'")) == expected


# ------------------------------------------------------------------------------------------------------------- tables

ROWS = 200


def table() -> pd.DataFrame:
    """Columns of all kinds, with values missing in most of them."""
    generator = np.random.default_rng(0)
    moments = pd.to_datetime(generator.integers(-(10**15), 2 * 10**15, ROWS), unit="us").astype("datetime64[us]")
    frame = pd.DataFrame(
        {
            "distance": generator.normal(1e6, 3, ROWS),
            "delay": np.where(generator.random(ROWS) < 0.2, np.nan, generator.normal(size=ROWS)),
            "direct": generator.random(ROWS) < 0.5,
            "carrier": generator.choice(["UA", "AA", "9É"], ROWS).astype(object),
            "month": generator.integers(1, 13, ROWS),
            "departure": moments,
            "label": moments.date,
            "origin": generator.choice(["JFK", "LGA"], ROWS),
        }
    )
    frame.loc[generator.random(ROWS) < 0.1, "carrier"] = None
    frame.loc[generator.random(ROWS) < 0.1, "departure"] = pd.NaT
    score = frame["distance"] - 1e6 + 3 * frame["direct"] + (frame["departure"].dt.hour > 12)
    frame["late"] = np.where(score > 2, "yes", "no")
    return frame


def other_rows() -> pd.DataFrame:
    """Rows as in use: other order of columns, unknown categories, missing values in columns that had none."""
    frame = table().drop(columns="late")
    frame.loc[:20, "carrier"] = "unknown"
    frame["month"] = frame["month"].astype("Int64")
    frame.loc[10:30, "month"] = pd.NA
    frame.loc[20:40, "distance"] = np.nan
    frame.loc[30:50, "label"] = None
    return frame[frame.columns[::-1]].assign(more="x")


SETTINGS = {"target": "late", "categories": "month", "epochs": 20, "batch_size": 16}


@pytest.fixture(scope="module")
def table_model() -> TrainedNetwork:
    return package.train(table(), **SETTINGS).model


@pytest.fixture(scope="module")
def model_without_dates() -> TrainedNetwork:
    return package.train(table().drop(columns=["departure", "label"]), **SETTINGS).model


def inputs_of(session: Any, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    inputs = {}
    for column in session.get_inputs():
        values = frame[[column.name]]
        if column.type == "tensor(string)":
            inputs[column.name] = values.astype(object).fillna("").to_numpy()
        elif column.type == "tensor(int64)":
            inputs[column.name] = values.to_numpy("datetime64[us]").astype(np.int64)
        else:
            inputs[column.name] = values.astype("Float64").to_numpy(np.float64, na_value=np.nan)
    return inputs


def test_onnx_takes_raw_rows_of_a_table(table_model: TrainedNetwork, tmp_path: Path) -> None:
    table_model.export(tmp_path / "model.onnx")
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    types = {column.name: (column.type, column.shape) for column in session.get_inputs()}
    assert types == {
        **dict.fromkeys(("distance", "delay", "direct", "month"), ("tensor(double)", ["rows", 1])),
        **dict.fromkeys(("carrier", "origin"), ("tensor(string)", ["rows", 1])),
        **dict.fromkeys(("departure", "label"), ("tensor(int64)", ["rows", 1])),
    }
    # "label" is the name of a column
    assert [output.name for output in session.get_outputs()] == ["label_", "probabilities"]
    for frame in (table(), other_rows()):
        check_predictions(session.run(None, inputs_of(session, frame)), table_model, frame)


@pytest.mark.parametrize("suffix", [".skops", ".joblib"])
def test_pipelines_take_raw_frames(table_model: TrainedNetwork, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    table_model.export(path)
    if suffix == ".skops":
        pipeline = skops.load(path, trusted=[DATES, "numpy.dtype"])
    else:
        pipeline = __import__("joblib").load(path)
    for frame in (table(), other_rows()):
        check_predictions((pipeline.predict(frame), pipeline.predict_proba(frame)), table_model, frame)
    modules = {type(step).__module__.partition(".")[0] for _, step in pipeline.steps}
    assert modules == {"nnmpi", "sklearn"}


@pytest.mark.slow
def test_pipelines_without_dates_need_no_nnmpi(model_without_dates: TrainedNetwork, tmp_path: Path) -> None:
    frame = other_rows()
    frame.to_pickle(tmp_path / "frame.pickle")
    for suffix in (".skops", ".joblib"):
        model_without_dates.export(tmp_path / f"model{suffix}")
    program = (
        "import sys; sys.modules['nnmpi'] = None\n"
        "import joblib, numpy, pandas, skops.io\n"
        "frame = pandas.read_pickle('frame.pickle')\n"
        "pipelines = skops.io.load('model.skops', trusted=['numpy.dtype']), joblib.load('model.joblib')\n"
        "probabilities = [pipeline.predict_proba(frame) for pipeline in pipelines]\n"
        "numpy.save('probabilities.npy', probabilities)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, timeout=60, check=True)
    expected = model_without_dates.predict_proba(frame)
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), [expected, expected], rtol=0, atol=TOLERANCE)


def test_an_empty_text_may_be_a_category() -> None:
    """A column may also have no category at all."""
    frame = pd.DataFrame({"a": ["", "x", None] * 40, "b": [None] * 119 + ["seldom"], "y": [0, 1, 2] * 40})
    for seed in range(9):  # until the only text of b is in the test part
        trained = package.train(frame, target="y", epochs=40, batch_size=8, seed=seed).model
        if trained._model.scaler.categories[1] == ():
            break
    assert trained._model.scaler.categories == {0: ("", "x"), 1: ()}
    for suffix in SUFFIXES:
        raw = {name: frame[name].to_numpy(object, na_value=None) for name in ("a", "b")}
        check_predictions(runner(exported(trained._model, suffix), suffix, trained._model)(raw), trained, frame)


def test_dates_become_the_parts_that_arrow_knows() -> None:
    from nnmpi.export.onnx_dates import MISSING, date_parts
    from nnmpi.export.onnx_graph import Graph

    moments = np.random.default_rng(0).integers(-62_135_596_800, 253_402_300_799, 20_000) * 10**6  # years 1 to 9999
    days = np.arange("1896-01-01", "2105-01-01", dtype="datetime64[D]").astype("datetime64[us]").astype(np.int64)
    moments = np.concatenate([moments + np.arange(len(moments)), days, days - 1])
    names = ("year", "month", "day", "weekday", "hour", "minute", "second")
    graph = Graph()
    for name, value in date_parts(graph, graph.input("moment", "int64", 1), list(names)).items():
        graph.output(name, value, "float64", 1)
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString())
    parts = np.hstack(session.run(None, {"moment": np.append(moments, MISSING)[:, None]}))
    assert np.isnan(parts[-1]).all()
    expected = pd.Series(moments.astype("datetime64[us]")).dt
    for name, values in zip(names[:6], parts[:-1].T, strict=False):
        expected_part = getattr(expected, "day_of_week" if name == "weekday" else name)
        np.testing.assert_array_equal(values, expected_part, err_msg=name)
    np.testing.assert_allclose(parts[:-1, 6], expected.second + expected.microsecond / 1e6, rtol=1e-15)


# -------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("suffix", [".onnx", *(pytest.param(s, marks=pytest.mark.slow) for s in SUFFIXES[1:])])
@pytest.mark.parametrize(("data", "rows"), [("digits", 360), ("diabetes", 89)])
def test_check_compares_the_test_part(
    train: Train, nnmpi: CommandServer, data: str, rows: int, suffix: str, tmp_path: Path
) -> None:
    directory = train("--data", data, "--epochs", "2").directory
    done = nnmpi("export", str(directory), str(tmp_path / f"model{suffix}"), "--check").succeeded()
    match = re.search(r"largest difference (\S+) .*on (\d+) rows of the test part of (\w+)", done.out)
    assert match
    assert match.groups()[1:] == (str(rows), data)
    assert float(match[1]) <= TOLERANCE
    assert (tmp_path / f"model{suffix}").exists()


@pytest.mark.slow
def test_check_reads_the_rows_of_a_table(nnmpi: CommandServer, tmp_path: Path) -> None:
    table().to_parquet(tmp_path / "flights.parquet")
    words = ("flights.parquet", "--target", "late", "--categories", "month", "--epochs", "2")
    nnmpi("train", *words, "--output", "run", cwd=tmp_path, timeout=120).succeeded()
    for suffix in SUFFIXES:
        done = nnmpi("export", "run", f"model{suffix}", "--check", cwd=tmp_path, timeout=120).succeeded()
        assert "on 40 rows of the test part of flights.parquet" in done.out
        assert "departure, label" in done.out  # the columns of dates
    (tmp_path / "flights.parquet").rename(tmp_path / "moved.parquet")
    check_again = ("export", "run", "model.onnx", "--overwrite", "--check")
    assert "no such file" in nnmpi(*check_again, cwd=tmp_path, timeout=120).messages[0]
    nnmpi(*check_again, "--data", "moved.parquet", cwd=tmp_path, timeout=120).succeeded()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_predicts_otherwise_is_not_written(
    train: Train, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_changed(model: Model, suffix: str) -> bytes:
        return exported(replace(model, parameters=model.parameters * np.float32(1.0001)), suffix)

    monkeypatch.setattr(command, "exported", export_changed)
    directory = train("--data", "digits", "--epochs", "2").directory
    with pytest.raises(RunError, match=r"not written: largest difference .*allowed is 1e-06") as refused:
        command.export_model(directory, tmp_path / f"model{suffix}", True, None, False)
    assert refused.value.status == 1
    assert list(tmp_path.iterdir()) == []


def test_another_label_is_a_difference() -> None:
    model = network("softmax")
    outputs, codes = np.array([[0.6, 0.4, 0.0], [0.3, 0.3, 0.4]]), np.array([0, 2])
    assert difference(model, (np.array(["a", "ç"]), outputs), outputs, codes) == 0
    assert difference(model, (np.array(["bb", "ç"]), outputs), outputs, codes) == pytest.approx(0.2)
    assert difference(model, (np.array(["other", "ç"]), outputs), outputs, codes) == np.inf
    assert np.isnan(difference(model, (np.array(["a", "ç"]), outputs * np.nan), outputs, codes))


def test_another_label_of_several_is_a_difference() -> None:
    model, outputs = network("two labels"), np.array([[0.6, 0.2], [0.5, 0.9]])
    codes = outputs > 0.5
    assert difference(model, (codes.astype(int), outputs), outputs, codes) == 0
    assert difference(model, (np.array([[0, 0], [0, 1]]), outputs), outputs, codes) == pytest.approx(0.2)
    assert difference(model, (codes.astype(int), outputs - 0.1), outputs, codes) == pytest.approx(0.1)
    assert np.isnan(difference(model, (codes.astype(int), outputs * np.nan), outputs, codes))


def saved(directory: Path) -> str:
    write_model(directory / "m.safetensors", network("softmax"), sync=False)
    return "m.safetensors"


def test_a_file_is_replaced_only_if_told(nnmpi: CommandServer, tmp_path: Path) -> None:
    model = saved(tmp_path)
    (tmp_path / "model.onnx").write_text("mine")
    refused = nnmpi("export", model, "model.onnx", cwd=tmp_path)
    assert refused.status == 2
    assert refused.messages == ["nnmpi: model.onnx already exists; replace it with --overwrite, or choose another name"]
    assert (tmp_path / "model.onnx").read_text() == "mine"
    nnmpi("export", model, "model.onnx", "--overwrite", cwd=tmp_path).succeeded()
    onnx.checker.check_model(tmp_path / "model.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "model.onnx"]


REFUSED = {
    "another suffix": ("model.pb", "allowed are files that end in .onnx, .skops, .joblib"),
    "no suffix": ("model", "allowed are files that end in .onnx, .skops, .joblib"),
    "a directory": ("directory.onnx", "is a directory"),
    "a FIFO": ("fifo.onnx", "is a FIFO"),
    "a device": ("device.onnx", "is a device"),
    "no directory for it": ("nowhere/model.onnx", "nowhere is not a directory"),
}


@pytest.mark.parametrize(("name", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_refused(nnmpi: CommandServer, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "directory.onnx").mkdir()
    os.mkfifo(tmp_path / "fifo.onnx")
    (tmp_path / "device.onnx").symlink_to("/dev/null")
    done = nnmpi("export", saved(tmp_path), name, "--overwrite", cwd=tmp_path)
    assert done.status == 2
    assert len(done.messages) == 1
    assert words in done.messages[0]


@pytest.mark.parametrize(
    ("module", "suffix", "check", "words"),
    [
        ("onnx", ".onnx", False, r"needs onnx, .*pip install 'nnmpi\[onnx\]'"),
        ("onnxruntime", ".onnx", True, r"--check of .* needs onnxruntime, .*pip install 'nnmpi\[onnx\]'"),
        ("skops.io", ".skops", False, r"needs skops, .*pip install 'nnmpi\[skops\]'"),
        ("pandas", ".joblib", False, r"needs pandas, .*pip install 'nnmpi\[skops\]'"),
    ],
)
def test_without_its_extra_that_is_named(
    table_model: TrainedNetwork,
    module: str,
    suffix: str,
    check: bool,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table_model.save(tmp_path / "m.safetensors")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=words):
        command.export_model(tmp_path / "m.safetensors", tmp_path / f"model{suffix}", check, None, False)
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_data_are_for_the_check(nnmpi: CommandServer, tmp_path: Path) -> None:
    done = nnmpi("export", saved(tmp_path), "model.onnx", "--data", "digits", cwd=tmp_path)
    assert done.status == 2
    assert done.messages == ["nnmpi: --data is for --check: add it, or leave out --data"]


@pytest.mark.mpi
@pytest.mark.slow
def test_one_rank_of_many_writes(tmp_path: Path) -> None:
    model = saved(tmp_path)
    done = run(needed("openmpi").nnmpi(2, "export", model, "model.onnx"), tmp_path).succeeded()
    assert done.out.count("written") == 1


def test_the_docs_load_a_model_in_pytorch(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    program = (ROOT / "docs/how-to/deploy.md").read_text().split("## PyTorch")[1].split("```")[1].removeprefix("python")
    directory = train("--data", "digits", "--epochs", "2").directory
    (tmp_path / "run").symlink_to(directory)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(program, names)
    expected = package.load(directory).predict_proba(load_digits().data)
    np.testing.assert_allclose(names["probabilities"], expected, rtol=0, atol=1e-5)  # float32
