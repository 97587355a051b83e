"""``--config``: settings from a file; a run is repeated from its config.json."""

import hashlib
import json
from pathlib import Path

import pytest
from jobs import CommandServer

TOML = """
data = "iris"
epochs = 2
hidden = [7, 5]
learning-rate = 0.05
nesterov = false
batch_size = "full"
augment = ["noise"]
"""


def settings_of(directory: Path) -> dict[str, object]:
    return dict(json.loads((directory / "config.json").read_text())["settings"])


def test_flags_win_over_the_file_and_the_file_over_defaults(nnmpi: CommandServer, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(TOML)
    nnmpi("train", "--config", "run.toml", "--epochs", "1", "--output", "run", cwd=tmp_path).succeeded()
    settings = settings_of(tmp_path / "run")
    expected = {"data": "iris", "epochs": 1, "hidden": [7, 5], "learning_rate": 0.05, "nesterov": False}
    expected |= {"batch_size": "full", "augment": ["noise"], "momentum": 0.9}
    assert {name: settings[name] for name in expected} == expected


def test_data_argument_wins_over_the_file(nnmpi: CommandServer, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(TOML)
    nnmpi("train", "wine", "--config", "run.toml", "--output", "run", cwd=tmp_path).succeeded()
    assert settings_of(tmp_path / "run")["data"] == "wine"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "epoch = 2", ("'epoch'", "did you mean epochs")),
        ("a.toml", "learing-rate = 2", ("learning_rate",)),
        ("a.toml", "xyzzy = 1", ("xyzzy", "allowed are data")),
        ("a.toml", "epochs = 2.5", ("epochs", "2.5")),
        ("a.toml", "epochs = true", ("epochs", "True")),
        ("a.toml", "epochs = [1]", ("epochs",)),
        ("a.toml", "nesterov = 'perhaps'", ("nesterov", "perhaps")),
        ("a.toml", "hidden = [1.5]", ("hidden", "1.5")),
        ("a.toml", "hidden = ['x']", ("hidden",)),
        ("a.toml", "optimizer = 'sdg'", ("optimizer", "sdg", "adam")),
        ("a.toml", "[train]\nepochs = 1", ("train",)),
        ("a.toml", "[epochs]\nx = 1", ("epochs", "table")),
        ("a.toml", "epochs: 1", ("a.toml", "TOML")),
        ("a.toml", "batch-size = 0", ("--batch-size", "0")),
        ("a.json", '{"epochs": 1', ("a.json",)),
        ("a.json", "[1]", ("a.json",)),
        ("a.json", '{"settings": {"epochz": 1}}', ("epochz", "epochs")),
        ("a.json", '{"hidden": [[1]]}', ("hidden",)),
        ("missing.toml", None, ("missing.toml",)),
    ],
)
def test_bad_files_are_refused(
    nnmpi: CommandServer, name: str, text: str | None, words: tuple[str], tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    done = nnmpi("train", "--config", name, cwd=tmp_path)
    assert done.status == 2
    assert len(done.err.splitlines()) == 1, done.err
    assert all(word in done.err for word in words), done.err
    assert not (tmp_path / "runs").exists()


def test_config_json_repeats_a_run(nnmpi: CommandServer, tmp_path: Path) -> None:
    """Settings that are not the defaults are repeated; the output directory is not."""
    flags = ("--deterministic", "--seed", "7", "--hidden", "9", "--epochs", "2", "--augment", "noise", "--shards", "4")
    nnmpi("train", "iris", *flags, "--output", "first", cwd=tmp_path).succeeded()
    nnmpi("train", "--config", "first/config.json", cwd=tmp_path).succeeded()
    nnmpi("train", "--config", "first/config.json", "--seed", "8", "--output", "other", cwd=tmp_path).succeeded()
    first, second, other = (
        hashlib.sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest()
        for name in ("first", "runs/iris", "other")
    )
    assert first == second != other


def test_repeated_run_keeps_the_shards_of_the_first(nnmpi: CommandServer, tmp_path: Path) -> None:
    """Their default depends on the number of ranks, which may differ."""
    nnmpi("train", "iris", "--epochs", "1", "--output", "first", cwd=tmp_path).succeeded()
    config = json.loads((tmp_path / "first/config.json").read_text())
    config["shards"] = 16  # as if more ranks had trained
    (tmp_path / "config.json").write_text(json.dumps(config))
    nnmpi("train", "--config", "config.json", "--output", "second", cwd=tmp_path).succeeded()
    assert json.loads((tmp_path / "second/config.json").read_text())["shards"] == 16


def test_config_json_of_a_run_resumes_it(nnmpi: CommandServer, tmp_path: Path) -> None:
    """It names the shards that were the default of the run."""
    train = ("train", "iris", "--hidden", "4", "--epochs")
    nnmpi(*train, "2", "--output", "whole", cwd=tmp_path).succeeded()
    nnmpi(*train, "1", "--output", "run", cwd=tmp_path).succeeded()
    resume = ("--output", "run", "--resume", "--epochs", "2")
    nnmpi("train", "--config", "run/config.json", *resume, cwd=tmp_path).succeeded()
    assert (tmp_path / "run/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    done = nnmpi("train", "--config", "run/config.json", *resume, "--shards", "4", cwd=tmp_path)
    assert done.status == 2
    assert "--shards was 8, is 4" in done.messages[0]
