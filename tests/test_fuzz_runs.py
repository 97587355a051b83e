"""Damaged directories of runs, some with correct checksums: each is resumed, or refused in one line."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from fuzzing import DEEP, Alone, damaged, ends_well, fuzz, json_text
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from nnmpi.cli import main
from nnmpi.commands.apply import evaluate_model
from nnmpi.commands.train import train
from nnmpi.config import Config
from nnmpi.environment import set_threads
from nnmpi.files import checkpoint
from nnmpi.files.run_log import RunLog
from nnmpi.files.run_status import read_status
from nnmpi.setting import flag_of

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"data": "random:40x3x2", "hidden": (4,), "early_stopping": 5, "checkpoint_every": "3steps"}
SETTINGS |= {"shards": 2, "batch_size": 8, "threads": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of two epochs, which tests resume for a third one."""
    path = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):  # restores the number of threads at the end
        patch.setattr("os.fsync", lambda descriptor: None)  # the disk is not tested here
        patch.setattr("nnmpi.commands.train.set_threads", lambda threads: None)
        patch.setattr("nnmpi.commands.train.code", lambda: b"")  # slower than the training
        patch.setattr("nnmpi.commands.apply.set_threads", lambda threads: None)
        train(Config(**SETTINGS, epochs=2, output=str(path)), Alone())
        yield path


def resume(run: Path, damage: Callable[[Path], Any]) -> Path:
    """Copy the run, damage the copy, and resume it."""
    copy = run.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    damage(copy)
    ends_well(lambda: train(Config(**SETTINGS, epochs=3, output=str(copy), resume=True), Alone()))
    return copy


def newest(directory: Path) -> Path:
    return max((directory / "checkpoints").glob("*.json"))


def write_checkpoint(path: Path, content: str, tensors: bytes | None = None) -> None:
    """Write `content` and `tensors` as a checkpoint with correct checksums."""
    if tensors is not None:
        path.with_suffix(".safetensors").write_bytes(tensors)
        values = json.loads(content)
        content = json.dumps({**values, "sha256": hashlib.sha256(tensors).hexdigest()})
    digest = hashlib.sha256(content.encode(errors="replace")).hexdigest()
    path.write_text(json.dumps({"sha256": digest, "content": content.encode(errors="replace").decode()}))


def content_of(path: Path) -> dict[str, Any]:
    return dict(json.loads(json.loads(path.read_text())["content"]))


def test_whole_runs_go_on(run: Path) -> None:
    copy = resume(run, lambda copy: None)
    assert len((copy / "metrics.jsonl").read_text().splitlines()) == 3


@given(data=st.data())
@fuzz
def test_bytes_of_checkpoints(run: Path, data: st.DataObject) -> None:
    copy = run.with_name("bytes")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run / "checkpoints", copy)
    path = data.draw(st.sampled_from(sorted(copy.iterdir())))
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    ends_well(lambda: checkpoint.newest(copy))
    for path in copy.glob("*.json"):
        ends_well(lambda path=path: checkpoint.read(path), ValueError)


@given(data=st.data())
@fuzz
@pytest.mark.slow
def test_content_of_checkpoints(run: Path, data: st.DataObject) -> None:
    text = data.draw(json_text(content_of(newest(run))))
    resume(run, lambda copy: write_checkpoint(newest(copy), text))


PROGRESS = asdict(checkpoint.Progress())
NUMBERS = st.integers(-2, 12) | st.sampled_from(
    [10**30, 10**400, 0.0, 1.5, 1e308, float("nan"), float("inf"), None, True]
)


@given(progress=st.dictionaries(st.sampled_from(sorted(PROGRESS)), NUMBERS, min_size=1, max_size=4))
@fuzz
@pytest.mark.slow
def test_progress_of_checkpoints(run: Path, progress: dict[str, Any]) -> None:
    content = content_of(newest(run))
    content["progress"] |= progress
    resume(run, lambda copy: write_checkpoint(newest(copy), json.dumps(content)))


@given(data=st.data())
@fuzz
@pytest.mark.slow
def test_arrays_of_checkpoints(run: Path, data: st.DataObject) -> None:
    path = newest(run)
    tensors = safetensors.numpy.load_file(path.with_suffix(".safetensors"))
    sizes = st.lists(st.integers(0, 30), max_size=3)
    for name in data.draw(st.lists(st.sampled_from([*sorted(tensors), "x"]), min_size=1, max_size=3)):
        change = data.draw(st.sampled_from(["remove", "shape", "type", "number"]))
        if change == "remove":
            tensors.pop(name, None)
        elif change == "shape" or name not in tensors:
            tensors[name] = np.ones(data.draw(sizes), np.float32)
        elif change == "type":
            tensors[name] = np.array(np.nan_to_num(tensors[name]), data.draw(st.sampled_from(["f2", "f8", "i4", "?"])))
        elif tensors[name].size and tensors[name].dtype.kind == "f":
            with np.errstate(over="ignore"):
                tensors[name].flat[0] = data.draw(st.sampled_from([np.nan, np.inf, 1.0]))
    content = json.dumps(content_of(path))
    resume(run, lambda copy: write_checkpoint(newest(copy), content, safetensors.numpy.save(tensors)))


@given(data=st.data())
@fuzz
@pytest.mark.slow
def test_log(run: Path, data: st.DataObject) -> None:
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    texts = st.sampled_from(lines) | json_text(json.loads(lines[0])).map(lambda t: t.encode(errors="replace"))
    log = b"\n".join(data.draw(st.lists(texts | damaged(lines[1]), max_size=4))) + data.draw(
        st.sampled_from([b"", b"\n"])
    )
    directory = run.with_name("log")
    directory.mkdir(exist_ok=True)
    (directory / "metrics.jsonl").write_bytes(log)
    ends_well(lambda: RunLog(directory, {}, data.draw(st.integers(0, 4)), []).close())
    for line in (directory / "metrics.jsonl").read_bytes().splitlines():
        assert 1 <= json.loads(line)["epoch"] <= 4


@given(data=st.data())
@fuzz
def test_run_status(run: Path, data: st.DataObject) -> None:
    """`nnmpi launch` decides on a restart by this status."""
    directory = run.with_name("status")
    directory.mkdir(exist_ok=True)
    for name in ("config.json", "metrics.jsonl"):
        lines = (run / name).read_bytes()
        tree = json.loads(lines.splitlines()[-1] if name == "metrics.jsonl" else lines)
        texts = json_text(tree).map(lambda text: text.encode(errors="replace"))
        (directory / name).write_bytes(data.draw(damaged(lines) | texts))
    status = ends_well(lambda: read_status(directory, None))
    assert str(status).isprintable()


EXTREMES = ["1e-320", "1e308", "1e30", "0.999999999", "9" * 9, "9" * 25, "9" * 400]
# without epochs: a billion of them are valid, and would take too long
NUMBERS_OF_TRAINING = [f.name for f in fields(Config) if type(f.default) in (int, float) and f.name != "epochs"]


@pytest.mark.parametrize("name", [*NUMBERS_OF_TRAINING, "shards", "threads"])
def test_training_with_extreme_settings(run: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike the commands in test_fuzz_commands.py, these trainings run to the end."""
    monkeypatch.setattr("nnmpi.commands.train.set_threads", set_threads)
    monkeypatch.setattr("nnmpi.commands.job.run", lambda work, mpi=None: work(Alone()))
    output = run.with_name("extreme")
    flags = ["--data=random:40x3x2", "--hidden=4", "--epochs=1", "--early-stopping=1", f"--output={output}"]
    schedule = "--lr-schedule=step" if "step" in name else "--lr-schedule=inverse-time"
    for value in EXTREMES:
        shutil.rmtree(output, ignore_errors=True)
        with threadpool_limits(1):
            ends_well(lambda value=value: main(["train", *flags, schedule, f"{flag_of(name)}={value}"]), SystemExit)


def test_run_status_of_huge_files_and_pipes(tmp_path: Path) -> None:
    for name in ("config.json", "metrics.jsonl"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 30)  # sparse: takes no space
    assert ends_well(lambda: read_status(tmp_path, None)).begun
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
    assert ends_well(lambda: read_status(tmp_path, None)).begun


# one damage each


def changed(path_of_node: str, value: Any) -> Callable[[Path], None]:
    """Replace one node of the newest checkpoint's content, or remove it if `value` is None."""

    def change(copy: Path) -> None:
        content = content_of(newest(copy))
        *path, key = path_of_node.split(".")
        node = content
        for step in path:
            node = node[step]
        if value is None:
            del node[key]
        else:
            node[key] = value
        write_checkpoint(newest(copy), json.dumps(content))

    return change


def with_file(name: str, make: Callable[[Path], Any]) -> Callable[[Path], None]:
    return lambda copy: make(copy / name)


def pipe_for_newest(copy: Path) -> None:
    path = newest(copy)
    path.unlink()
    os.mkfifo(path)


TRICKS: dict[str, Callable[[Path], Any]] = {
    "no settings": changed("about.settings", None),
    "settings are a list": changed("about.settings", []),
    "no mark of the end": changed("about.finished", None),
    "about is a string": changed("about", "x"),
    "no bits": changed("about.bits", None),
    "shards are a string": changed("about.shards", "2"),
    "no shards at all": changed("about.shards", 0),
    "progress is more": changed("progress.surprise", "\x1b[31m"),
    "progress has an escape": changed("progress", {"\x1b[2J": 1}),
    "a step that is none": changed("progress.step", -1),
    "a step beyond the epoch": changed("progress.step", 99),
    "seconds are a string": changed("progress.seconds", "x"),
    "seconds never ended": changed("progress.seconds", float("inf")),
    "a best epoch without its score": changed("progress.best_score", None),
    "samples without end": changed("progress.samples", 10**400),
    "a deep log": with_file("metrics.jsonl", lambda path: path.write_text(DEEP + "\n")),
    "a long line in the log": with_file(
        "metrics.jsonl", lambda path: path.write_text('{"epoch": 1, "x": "' + "x" * 10**7)
    ),
    "a log of one epoch a thousand times": with_file(
        "metrics.jsonl", lambda path: path.write_text('{"epoch": 1}\n' * 1000)
    ),
    "a checkpoint named ²": with_file("checkpoints/1².json", lambda path: path.write_text("{}")),
    "a checkpoint named with an escape": with_file("checkpoints/\x1b[2J.json", lambda path: path.write_text("{}")),
    "a checkpoint that is a directory": with_file("checkpoints/999999999999.json", Path.mkdir),
    "a checkpoint that is a pipe": with_file("checkpoints/999999999999.json", os.mkfifo),
    "the newest is a pipe": pipe_for_newest,
    "a directory of a temporary name": with_file("checkpoints/.x.new", Path.mkdir),
    "a directory for a temporary file": with_file(".metrics.jsonl.new", Path.mkdir),
    "no log": with_file("metrics.jsonl", Path.unlink),
    "no settings file": with_file("config.json", lambda path: path.write_bytes(b"\xff\x00")),
    "a pipe for a log": with_file("metrics.jsonl", lambda path: (path.unlink(), os.mkfifo(path))),
}


@pytest.mark.parametrize("name", TRICKS)
def test_tricks(run: Path, name: str) -> None:
    copy = resume(run, TRICKS[name])
    ends_well(lambda: read_status(copy, None))
    ends_well(lambda: evaluate_model(copy, None, False, Alone()))
    ends_well(lambda: train(Config(**SETTINGS, epochs=0, output=str(copy)), Alone()))
