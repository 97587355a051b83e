"""``train --log``: TensorBoard and MLflow get the values of ``metrics.jsonl``; a failing log stops no training."""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from jobs import CommandServer, run

from nnmpi.config import LOGS, Config
from nnmpi.errors import InputError
from nnmpi.report.loggers import LOGGERS, NEEDED, Logs, check_loggers

SECONDS = 120


def test_each_choice_has_a_logger() -> None:
    assert set(LOGS) == set(LOGGERS) == set(NEEDED)
    with pytest.raises(InputError, match="--log is wandb; allowed are none, or of tensorboard, mlflow"):
        Config(log=("wandb",))


def scalars(directory: Path) -> dict[str, dict[int, float]]:
    """Return the scalars of event files by tag and step. A record is a length, a checksum, an event, a checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    values: dict[str, dict[int, float]] = {}
    for path in directory.iterdir():
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    values.setdefault(value.tag, {})[event.step] = value.simple_value
    return values


def epochs(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_gets_the_metrics(nnmpi: CommandServer, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    flags = ("--data", "iris", "--epochs", "3", "--output", str(tmp_path / "run"))
    nnmpi("train", *flags, "--log", "tensorboard", timeout=SECONDS).succeeded()
    logged = scalars(tmp_path / "run" / "tensorboard")
    for tag, name in (("loss/test", "test_loss"), ("accuracy/test", "test_accuracy"), ("loss/train", "train_loss")):
        expected = {line["epoch"]: line[name] for line in epochs(tmp_path / "run")}
        assert logged[tag] == pytest.approx(expected, rel=1e-6)
    assert len(logged["loss/test"]) == 3


def test_mlflow_gets_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    program = (
        "import sys; from nnmpi.cli import main\n"
        "main(['train', '--data', 'iris', '--epochs', '2', '--output', sys.argv[1], '--log', 'mlflow'])"
    )
    run([sys.executable, "-c", program, str(tmp_path / "run")], tmp_path, SECONDS).succeeded()
    query = (
        "import sys, json; from mlflow import MlflowClient\n"
        "client = MlflowClient(tracking_uri='sqlite:///' + sys.argv[1])\n"
        "(run,) = client.search_runs([client.get_experiment_by_name('nnmpi').experiment_id])\n"
        "history = client.get_metric_history(run.info.run_id, 'test_loss')\n"
        "print(json.dumps([run.info.status, run.data.params['data'], [[m.step, m.value] for m in history]]))"
    )
    done = run([sys.executable, "-c", query, str(tmp_path / "run" / "mlflow.db")], tmp_path, SECONDS).succeeded()
    expected = [[line["epoch"], line["test_loss"]] for line in epochs(tmp_path / "run")]
    assert json.loads(done.out) == ["FINISHED", "iris", expected]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # nothing outside the run


@pytest.mark.parametrize("name", LOGS)
def test_without_the_extra_one_line_names_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnmpi.report.loggers.find_spec", lambda module: None)
    with pytest.raises(InputError, match=rf"--log {name} needs .*: pip install 'nnmpi\[{name}\]'"):
        check_loggers((name,))


@pytest.mark.parametrize("fails", ["open", "epoch", "close"])
def test_a_log_that_fails_is_left_out(fails: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    class Failing:
        def __init__(self, directory: Path, description: dict[str, Any]) -> None:
            self._do("open")

        def epoch(self, metrics: dict[str, Any]) -> None:
            self._do("epoch")

        def close(self, finished: bool) -> None:
            self._do(f"close {finished}")

        def _do(self, name: str) -> None:
            calls.append(name)
            if name.startswith(fails):
                raise RuntimeError("the disk is full")

    monkeypatch.setitem(LOGGERS, "tensorboard", Failing)
    notes: list[str] = []
    logs = Logs(("tensorboard",), tmp_path, {"settings": {}}, notes.append)
    logs.epoch({"epoch": 1})
    logs.epoch({"epoch": 2})
    logs.finished()
    logs.close()
    assert notes == ["note: --log tensorboard failed and is now off (RuntimeError: the disk is full)"]
    expected = {"open": ["open"], "epoch": ["open", "epoch"], "close": ["open", "epoch", "epoch", "close True"]}
    assert calls == expected[fails]
