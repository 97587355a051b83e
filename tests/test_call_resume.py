"""Checkpoints and resume from Python, as with the command."""

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from jobs import CommandServer, read_metrics
from sklearn.datasets import load_iris

import nnmpi
from nnmpi import train as train_in_python
from nnmpi.errors import InputError, RunError
from nnmpi.files.checkpoint import Unfinished
from nnmpi.training.events import CheckpointDue, EpochDone
from nnmpi.training.output import Output

X, y = load_iris(return_X_y=True)
SMALL: dict[str, Any] = {"hidden": (8,), "epochs": 2}


class Killed(Exception):
    """Replaces the death of the process."""


def train_and_die(directory: Path, event_type: type, number: int, **settings: Any) -> None:
    """Train until event `number` of this type has been handled, then die."""
    events: list[Any] = []
    write = Output.write

    def write_and_die(self: Output, event: Any) -> None:
        write(self, event)
        events.extend([event] if isinstance(event, event_type) else [])
        if len(events) == number:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "write", write_and_die)
        with pytest.raises(Killed):
            nnmpi.train("digits", output=directory, **settings)


def comparable(result: nnmpi.Result) -> list[dict[str, Any]]:
    return [{key: value for key, value in metrics.items() if "second" not in key} for metrics in result.metrics]


RUN: dict[str, Any] = {"hidden": (8,), "epochs": 4, "dropout": 0.1, "checkpoint_every": "7steps"}


@pytest.mark.parametrize(
    ("at", "first_epoch"), [((CheckpointDue, 1), 1), ((CheckpointDue, 16), 3), ((EpochDone, 2), 2)]
)
def test_resume_ends_with_the_bits_of_an_undisturbed_training(
    at: tuple[type, int], first_epoch: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = nnmpi.train("digits", output=tmp_path / "undisturbed", **RUN)
    train_and_die(tmp_path / "run", *at, **RUN)
    resumed = nnmpi.train("digits", output=tmp_path / "run", resume=True, verbose=True, **RUN)
    assert capsys.readouterr().out.startswith(f"epoch {first_epoch}:")
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("undisturbed", "run")]
    assert models[0] == models[1]
    assert resumed.scores == undisturbed.scores
    assert comparable(resumed) == comparable(undisturbed)
    assert read_metrics(tmp_path / "run") == resumed.metrics


def test_resume_leaves_a_finished_run_as_it_is(tmp_path: Path) -> None:
    before = nnmpi.train("iris", output=tmp_path, **SMALL)
    files = [(tmp_path / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")]
    with pytest.raises(InputError, match="holds a finished run"):
        nnmpi.train("iris", output=tmp_path, **SMALL)
    after = nnmpi.train("iris", output=tmp_path, resume=True, **SMALL)
    assert [(tmp_path / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")] == files
    assert (after.metrics, after.scores) == (before.metrics, before.scores)
    longer = nnmpi.train("iris", output=tmp_path, resume=True, **SMALL | {"epochs": 3})
    assert longer.metrics[:2] == before.metrics
    assert len(longer.metrics) == 3


def test_resumes_a_run_of_the_command(train: Any, nnmpi: CommandServer, tmp_path: Path) -> None:
    run = train("--data", "iris", "--hidden", "8", "--epochs", "2")
    shutil.copytree(run.directory, tmp_path / "run")
    result = train_in_python("iris", hidden=(8,), epochs=3, output=tmp_path / "run", resume=True)
    assert result.metrics[:2] == run.metrics
    nnmpi("train", "iris", "--hidden", "8", "--epochs", "4", "--output", str(tmp_path / "run"), "--resume").succeeded()
    assert read_metrics(tmp_path / "run")[:3] == result.metrics


def test_resume_refuses_other_settings_and_other_data(tmp_path: Path) -> None:
    nnmpi.train(X, y, output=tmp_path, **SMALL)
    with pytest.raises(InputError, match="had other settings: hidden was 8, is 9"):
        nnmpi.train(X, y, output=tmp_path, resume=True, **SMALL | {"hidden": 9})
    with pytest.raises(InputError, match="is not what the run was trained on"):
        nnmpi.train(2 * X, y, output=tmp_path, resume=True, **SMALL)


def test_a_damaged_checkpoint_is_skipped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = SMALL | {"checkpoint_every": "1epochs", "keep": 3}
    before = nnmpi.train("iris", output=tmp_path, **settings)
    newest = max((tmp_path / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    after = nnmpi.train("iris", output=tmp_path, resume=True, verbose=True, **settings)
    assert comparable(after) == comparable(before)
    assert f"damaged checkpoint skipped: {newest.stem}" in capsys.readouterr().out


@pytest.mark.parametrize(("every", "keep", "expected"), [("4steps", 3, 3), ("1epochs", 1, 1), ("never", 2, 0)])
def test_checkpoints_are_written_and_kept_as_asked(
    every: str, keep: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Output.write

    def write_and_flush(self: Output, event: Any) -> None:
        """Wait for each checkpoint: while one is being written, the next one may be left out."""
        write(self, event)
        self.flush()

    monkeypatch.setattr(Output, "write", write_and_flush)
    nnmpi.train("iris", output=tmp_path, checkpoint_every=every, keep=keep, hidden=(8,), epochs=5)
    assert len(list((tmp_path / "checkpoints").glob("*.json"))) == expected


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Unfinished) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Unfinished, "finish", fail)
    with pytest.raises(RunError, match=r"a checkpoint could not be written .*No space left"):
        nnmpi.train("iris", output=tmp_path, hidden=(8,), epochs=10**6, checkpoint_every="4steps")
