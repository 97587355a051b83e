"""`nnmpi.train` from Python, in one process. mpi/test_call_on_ranks.py tests it under mpirun."""

import json
import os
import re
import subprocess
import sys
from contextlib import chdir
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jobs import read_metrics, variables
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_info

import nnmpi
from nnmpi.call import COMMAND_ONLY, SETTINGS
from nnmpi.config import Config
from nnmpi.errors import InputError, RunError
from nnmpi.setting import naming_keywords

X, y = load_iris(return_X_y=True)
SMALL = {"hidden": (8,), "epochs": 2}


def test_two_calls_give_the_same_scores() -> None:
    first, second = (nnmpi.train("iris", **SMALL) for _ in range(2))
    assert first.scores == second.scores
    np.testing.assert_array_equal(first.model.parameters, second.model.parameters)


def test_arrays_train_as_the_built_in_set() -> None:
    by_name, by_arrays = nnmpi.train("iris", **SMALL), nnmpi.train(X, y, **SMALL)
    np.testing.assert_array_equal(by_arrays.model.parameters, by_name.model.parameters)
    assert by_arrays.metrics[-1]["test_accuracy"] == by_name.metrics[-1]["test_accuracy"]


@pytest.mark.parametrize(
    "samples",
    [X.tolist(), np.asfortranarray(X), X.astype(np.float64).astype(">f8")],
    ids=["lists", "Fortran order", "big-endian"],
)
def test_memory_order_makes_no_difference(samples: object) -> None:
    trained = nnmpi.train(samples, y.tolist(), **SMALL)
    np.testing.assert_array_equal(trained.model.parameters, nnmpi.train(X, y, **SMALL).model.parameters)


def test_float16_trains() -> None:
    assert nnmpi.train(X.astype(np.float16), y, hidden=(8,), epochs=20).scores.accuracy > 0.5


def test_the_network_predicts() -> None:
    result = nnmpi.train(X, np.array(["setosa", "versicolor", "virginica"])[y], epochs=40)
    assert set(result.model.predict(X)) <= {"setosa", "versicolor", "virginica"}
    assert result.model.predict_proba(X).shape == (150, 3)


def test_agrees_with_the_command(train) -> None:
    run = train("--data", "iris", "--hidden", "8", "--epochs", "2")
    result = nnmpi.train("iris", **SMALL)
    np.testing.assert_array_equal(result.model.parameters, nnmpi.load(run.directory).parameters)
    for line, metrics in zip(run.metrics, result.metrics, strict=True):
        assert {k: v for k, v in line.items() if "second" not in k} == {
            k: v for k, v in metrics.items() if "second" not in k
        }


def test_writes_files_where_it_is_told_to_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nnmpi.train("iris", **SMALL)
    assert os.listdir(tmp_path) == []
    nnmpi.train("iris", output="run", **SMALL)
    assert os.listdir(tmp_path) == ["run"]
    assert len(read_metrics(tmp_path / "run")) == 2
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    nnmpi.train("iris", verbose=True, **SMALL)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1", "epoch 2"]


def test_threads_of_blas_are_restored() -> None:
    before = [pool["num_threads"] for pool in threadpool_info()]
    nnmpi.train("iris", threads=1, **SMALL)
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_settings_may_be_written_as_on_the_command_line() -> None:
    from_texts = nnmpi.train("iris", hidden="8", epochs=2, batch_size="full")
    from_values = nnmpi.train("iris", hidden=[8], epochs=2, batch_size="full")
    np.testing.assert_array_equal(from_texts.model.parameters, from_values.model.parameters)


def test_mistakes_are_named() -> None:
    with pytest.raises(TypeError, match="did you mean 'epochs'"):
        nnmpi.train("iris", epoch=3)
    with pytest.raises(InputError, match=r"^learning_rate is -1"):
        nnmpi.train("iris", learning_rate=-1)
    with pytest.raises(TypeError, match="targets y are missing"):
        nnmpi.train(X)
    with pytest.raises(InputError, match="X must hold numbers"):
        nnmpi.train(X.astype(str), y)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"report": True}, "^report True has no effect without a directory"),
        ({"log": ("tensorboard",)}, "^log tensorboard has no effect without a directory"),
        ({"stall_timeout": 5}, "^stall_timeout 5.0 has no effect from Python: only the command"),
        ({"resume": True}, "^resume True has no effect without a directory: add output=DIR"),
        ({"keep": 3}, "^keep 3 has no effect without a directory"),
        ({"checkpoint_every": "1epochs"}, "^checkpoint_every 1epochs has no effect without a directory"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with chdir(tmp_path), pytest.raises(InputError, match=words):
        nnmpi.train("iris", **SMALL, **settings)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "data"])
def test_errors_name_keywords(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is .*; allowed are (?!.*--)"), naming_keywords(SETTINGS):
        Config(**{name: object()})


def test_errors_name_data_and_keywords(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no.csv: no such file$"):
        nnmpi.train("no.csv")
    with pytest.raises(InputError, match=r"^early_stopping 2 needs a validation part: give validation_fraction \(it "):
        nnmpi.train("iris", early_stopping=2, validation_fraction=0.0)
    with pytest.raises(RunError, match=r": lower learning_rate \(it is 1e\+30\), or add warmup_epochs"):
        nnmpi.train("iris", learning_rate=1e30)
    model = nnmpi.train(pd.DataFrame({"a": [1, 2] * 20, "y": [0, 1] * 20}), epochs=1).model
    with pytest.raises(InputError, match=r"^X: column a, which the model was trained on, is missing"):
        model.predict(pd.DataFrame({"b": [1]}))


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (("iris", y), {}, "y is for an array or a frame"),
        ((X, y), {"target": "a"}, "target, drop, categories and sample_weight name columns"),
        ((X, y), {"drop": "a"}, "name columns, which only frames have"),
        ((X, y), {"categories": "a"}, "name columns, which only frames have"),
        ((X, y), {"sample_weight": "a"}, "name columns, which only frames have"),
        ((pd.DataFrame(X), y), {"target": "0"}, "both y and target give the targets"),
    ],
    ids=["y of a path", "target", "drop", "categories", "sample_weight", "target and y"],
)
def test_arguments_without_effect_are_refused(arguments: tuple[Any, ...], settings: dict[str, Any], words: str) -> None:
    with pytest.raises((InputError, TypeError), match=words):
        nnmpi.train(*arguments, **settings, epochs=1)


@pytest.mark.slow
def test_report_logs_and_timeline_are_written(tmp_path: Path) -> None:
    for module in ("jinja2", "matplotlib", "tensorboardX"):
        pytest.importorskip(module)
    output, timeline = tmp_path / "run", tmp_path / "t.json"
    nnmpi.train("iris", output=output, report=True, log=("tensorboard",), timeline=str(timeline), **SMALL)
    assert "Scores on the test part" in (output / "report.html").read_text()
    assert list((output / "tensorboard").iterdir())
    names = {event["name"] for event in json.loads(timeline.read_text())["traceEvents"]}
    assert {"forward", "backward", "update", "write a model"} <= names


def test_a_report_that_fails_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(directories: list[Path]) -> Path:
        raise ValueError("no fonts")

    monkeypatch.setattr("nnmpi.report.write.check_report", lambda: None)
    monkeypatch.setattr("nnmpi.call.write_report", fail)
    with pytest.warns(UserWarning, match="no report was written .ValueError: no fonts."):
        result = nnmpi.train("iris", output=tmp_path / "run", report=True, **SMALL)
    assert result.scores.samples == 30


@pytest.mark.parametrize(
    ("name", "words"), [("progress", "verbose=True"), ("dry_run", "--dry-run"), ("config", "as keywords"), ("json", "")]
)
def test_flags_of_the_command_name_what_to_use_instead(name: str, words: str) -> None:
    with pytest.raises(TypeError, match=rf"train\(\) has no setting '{name}': .*{words}"):
        nnmpi.train("iris", **{name: True})


def test_every_setting_has_an_effect_or_is_refused() -> None:
    """A setting that only the commands read has no effect from Python."""
    package = Path(nnmpi.__file__).parent
    folders = ("training", "reduction", "data", "faults", "nn")
    files = [path for folder in folders for path in (package / folder).rglob("*.py")]
    files += [package / name for name in ("settings_together.py", "call.py", "report/recording.py")]
    text = "\n".join(path.read_text() for path in files)
    unread = {field.name for field in fields(Config) if not re.search(rf"config\.{field.name}\b", text)}
    assert unread <= set(COMMAND_ONLY)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "from mpi4py import MPI; "])
def test_starts_no_mpi_of_its_own(before: str) -> None:
    """If the program has started MPI, nnmpi uses it and leaves it running."""
    program = (
        f"{before}import sys, nnmpi; r = nnmpi.train('iris', epochs=1);"
        "assert ('mpi4py.MPI' in sys.modules) == bool(sys.argv[1]);"
        "assert not sys.argv[1] or not MPI.Is_finalized(); print(r.scores.samples)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, before], env=variables(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "30"


def test_needs_no_mpi_library(tmp_path: Path) -> None:
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py/__init__.py").write_text("raise ImportError('no MPI here')")
    program = "import nnmpi; print(nnmpi.train('iris', epochs=1).scores.samples)"
    environment = variables(PYTHONPATH=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "30"


def test_public_names() -> None:
    for name in nnmpi.__all__:
        assert getattr(nnmpi, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nnmpi.nothing
