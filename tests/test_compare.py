"""``nnmpi compare``: a table of many runs that marks damaged and unfinished ones."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from jobs import CommandServer
from rich.cells import cell_len

from nnmpi.config import Config
from nnmpi.report.compare import compare, run_names
from nnmpi.report.run_files import read_run


def make_run(directory: Path, accuracy: float, finished: bool = True, epochs: int = 2, **settings: Any) -> Path:
    """The files of a run whose second epoch was the best."""
    directory.mkdir(parents=True)
    config = {"finished": finished, "settings": Config(**settings).as_json() | {"epochs": 2}, "world_size": 2}
    (directory / "config.json").write_text(json.dumps(config))
    lines = [
        {"epoch": 1, "train_loss": 1.0, "validation_loss": 0.9, "validation_accuracy": 0.1, "test_accuracy": 0.2},
        {"epoch": 2, "train_loss": 0.5, "validation_loss": 1 - accuracy, "validation_accuracy": accuracy},
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:epochs]))
    return directory


@pytest.fixture
def twenty_runs(tmp_path: Path) -> list[Path]:
    return [
        make_run(
            tmp_path / f"sweep/run-{i:02}",
            accuracy=0.5 + 0.02 * i,
            learning_rate=0.001 * (i + 1),
            hidden=(16 * (i % 4 + 1), 8),
            optimizer="adam" if i % 2 else "sgd",
        )
        for i in range(20)
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_twenty_runs_fit_the_screen(nnmpi: CommandServer, twenty_runs: list[Path], width: int) -> None:
    lines = nnmpi("compare", *map(str, twenty_runs), COLUMNS=str(width)).succeeded().out.splitlines()
    assert all(cell_len(line) <= width for line in lines)
    assert lines[0].split()[:3] == ["run", "validation", "accuracy"]
    assert [line.split()[0] for line in lines[1:21]] == [f"run-{i:02}" for i in reversed(range(20))]
    assert lines[1].split()[1:5] == ["0.8800", "64,8", "adam", "0.02"]
    assert "dropout" not in "\n".join(lines)  # the same in all runs


def test_order_by_a_metric_the_best_first(nnmpi: CommandServer, twenty_runs: list[Path]) -> None:
    out = nnmpi("compare", *map(str, twenty_runs), "--sort", "validation_loss", "--csv").succeeded().out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert rows[0]["run"] == "run-19"
    losses = [float(row["validation_loss"]) for row in rows]
    assert losses == sorted(losses)
    assert {"learning_rate", "hidden", "optimizer"} <= set(rows[0])
    assert "epochs" not in rows[0]


def test_an_unknown_metric_is_named_with_the_nearest(nnmpi: CommandServer, twenty_runs: list[Path]) -> None:
    done = nnmpi("compare", *map(str, twenty_runs[:2]), "--sort", "validation_los")
    assert done.status == 2
    assert len(done.messages) == 1
    assert "did you mean validation_loss?" in done.messages[0]


def test_damaged_and_unfinished_runs_are_said_so(nnmpi: CommandServer, twenty_runs: list[Path], tmp_path: Path) -> None:
    bad = {
        "unfinished": make_run(tmp_path / "sweep/unfinished", 0.9, finished=False, epochs=1, learning_rate=0.5),
        "config": make_run(tmp_path / "sweep/config", 0.9),
        "list": make_run(tmp_path / "sweep/list", 0.9),
        "deep": make_run(tmp_path / "sweep/deep", 0.9),
        "binary": make_run(tmp_path / "sweep/binary", 0.9),
        "log": make_run(tmp_path / "sweep/log", 0.9),
        "strange": make_run(tmp_path / "sweep/strange", 0.9),
        "empty": tmp_path / "sweep/empty",
        "gone": tmp_path / "sweep/gone",
        "file": tmp_path / "sweep/file",
        "pipe": make_run(tmp_path / "sweep/pipe", 0.9),
    }
    (bad["config"] / "config.json").write_text('{"settings": {')
    (bad["list"] / "config.json").write_text("[]")
    (bad["deep"] / "config.json").write_text("[" * 100_000)
    (bad["binary"] / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    (bad["log"] / "metrics.jsonl").unlink()
    strange = {"epoch": 1, "test_accuracy": "high", "test_loss": None, "validation_loss": 10**400, "test_r2": True}
    (bad["strange"] / "metrics.jsonl").write_text(json.dumps(strange) + "\n")
    bad["empty"].mkdir()
    bad["file"].write_text("")
    (bad["pipe"] / "metrics.jsonl").unlink()
    os.mkfifo(bad["pipe"] / "metrics.jsonl")
    arguments = [*map(str, twenty_runs[:3]), *map(str, bad.values())]
    done = nnmpi("compare", *arguments, COLUMNS="120").succeeded()
    assert done.err == ""
    lines = {line.split(":")[0]: line for line in done.out.splitlines() if ": " in line}
    for name in set(bad) - {"strange"}:
        assert ("unfinished" if name == "unfinished" else "damaged") in lines[name], name
    assert "unfinished after 1 of 2 epochs" in lines["unfinished"]
    rows = json.loads(nnmpi("compare", *arguments, "--json").succeeded().out)
    assert len(rows) == 14
    assert {row["run"] for row in rows if row["state"] == "finished"} == {"run-00", "run-01", "run-02", "strange"}
    assert next(row for row in rows if row["run"] == "strange")["scores"] == {}
    assert rows[0]["run"] == "run-02"


def test_nothing_to_compare(nnmpi: CommandServer, tmp_path: Path) -> None:
    done = nnmpi("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.status == 2
    assert len(done.messages) == 1


def test_a_run_of_a_hostile_name_cannot_write_to_the_terminal(nnmpi: CommandServer, tmp_path: Path) -> None:
    run = make_run(tmp_path / "\x1b[31mred [bold]x[/]\n", 0.5, data="\x1b]0;title\x07.npz")
    other = make_run(tmp_path / "other", 0.6)
    out = nnmpi("compare", str(run), str(other)).succeeded().out
    assert "\x1b" not in out
    assert "[bold]" in out
    assert len(out.splitlines()) == 3


def test_names_are_as_short_as_they_can_be() -> None:
    assert run_names([Path("a/data"), Path("b/data")]) == ["a/data", "b/data"]
    assert run_names([Path("runs/x"), Path("runs/y")]) == ["x", "y"]
    assert run_names([Path("runs/x")]) == ["x"]


def test_the_kept_epoch_counts(tmp_path: Path) -> None:
    early_stopping = {"early_stopping": 3}
    run = make_run(tmp_path / "run", 0.05, **early_stopping)  # the second epoch has the higher validation loss
    assert read_run(run).scores()["validation_accuracy"] == 0.1
    better = make_run(tmp_path / "better", 0.5, **early_stopping)
    assert compare([read_run(run), read_run(better)]).names == ["better", "run"]
