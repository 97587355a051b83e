"""The command line: its help, and the one-line errors for bad input."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, Done, Run, needed, run, unchanged

# a contract: other programs use these flags
FLAGS = {
    "train": (
        *("--data", "--hidden", "--activation", "--loss", "--epochs", "--batch-size", "--optimizer", "--learning-rate"),
        *("--momentum", "--nesterov", "--no-nesterov", "--lr-schedule", "--lr-decay", "--warmup-epochs", "--l2"),
        *("--dropout", "--augment", "--test-fraction", "--seed", "--shards", "--dtype", "--output"),
        *("--output-activation", "--early-stopping", "--stratify", "--deterministic", "--resume", "--checkpoint-every"),
        *("--keep", "--verify-replicas", "--no-verify-replicas", "--threads"),
    ),
    "evaluate": ("MODEL", "--data"),
    "predict": ("MODEL", "--data", "--out"),
    "info": ("--json", "--output"),
    "launch": ("-n,", "--hostfile", "--restarts", "--fault-tolerance", "--tag-output", "--dry-run"),
}
HELP = """
import json, sys
from nnmpi.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps([name for name in ("mpi4py.MPI", "sklearn") if name in sys.modules]), file=sys.stderr)
"""


def show_help(directory: Path, *arguments: str) -> str:
    """Return what ``--help`` prints. Check that this imports neither MPI nor scikit-learn."""
    flag = "--help-all" if arguments == ("train",) else "--help"
    done = run([sys.executable, "-c", HELP, *arguments, flag], directory).succeeded()
    assert json.loads(done.err) == []
    return done.out


def test_help_names_the_commands(tmp_path: Path) -> None:
    text = show_help(tmp_path)
    assert all(command in text for command in FLAGS)


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=() if name == "train" else pytest.mark.slow) for name in FLAGS]
)
def test_help_names_the_flags(command: str, tmp_path: Path) -> None:
    words = show_help(tmp_path, command).split()
    assert [flag for flag in FLAGS[command] if flag not in words] == []


@dataclass(frozen=True)
class BadInput:
    """A command that must be refused, and words in its one-line error: the value, and what is allowed."""

    command: str
    words: tuple[str, ...]
    only_on_ranks: bool = False


BAD_INPUT = {
    "unknown data": BadInput("train --data nonsense", ("nonsense", "digits, iris")),
    "missing file": BadInput("train --data missing.npz", ("missing.npz", "no such file")),
    "no archive": BadInput("train --data broken.npz", ("broken.npz", "cannot be read")),
    "no batch": BadInput("train --batch-size 0", ("--batch-size", "0", "from 1")),
    "half a sample": BadInput("train --batch-size 2.5", ("--batch-size", "2.5", "full")),
    "strange size": BadInput("train --hidden 10,x", ("--hidden", "10,x", "whole numbers")),
    "more ranks than shards": BadInput("train --data iris --shards 2", ("3 ranks", "--shards"), only_on_ranks=True),
    "NaN": BadInput("train --data nan.npz", ("nan.npz", "row 61", "feature 2", "nan")),
    "one class": BadInput("train --data one-class.npz", ("one-class.npz", "one class")),
    "half a model": BadInput("evaluate half.safetensors", ("half.safetensors",)),
    "no model": BadInput("evaluate missing", ("missing", "MODEL")),
    "other features": BadInput("evaluate run --data wine", ("4 features", "13")),
    "other features to predict": BadInput("predict run --data wine", ("4 features", "13")),
    "other predictions file": BadInput("predict run --data iris --out table.xlsx", ("--out", ".csv", ".npz")),
    "no place for predictions": BadInput("predict run --data iris --out plain/table.csv", ("--out", "plain/table.csv")),
    "no place for a run": BadInput("train --data iris --output plain/run", ("--output", "plain/run")),
    "unknown flag": BadInput("train --learnig-rate 1", ("--learnig-rate",)),
    "unknown command": BadInput("trian", ("trian",)),
    "no model named": BadInput("evaluate", ("MODEL",)),
    "no data to predict": BadInput("predict run", ("DATA",)),
    "no value": BadInput("train --epochs", ("--epochs",)),
    "unknown optimizer": BadInput("train --optimizer sdg", ("--optimizer", "sdg", "adam")),
    "augmented flowers": BadInput("train --data iris --augment shift", ("--augment", "iris")),
    "classes of numbers": BadInput(
        "train diabetes --loss cross-entropy --task regression", ("--loss", "--task", "mse")
    ),
    "two of ten classes": BadInput("train --loss binary-cross-entropy", ("--loss", "digits", "10")),
    "nothing to train on": BadInput("train --test-fraction 1", ("--test-fraction", "1")),
    "no learning rate": BadInput("train --learning-rate nan", ("--learning-rate", "nan")),
    "loss and output": BadInput("train --loss cross-entropy --output-activation sigmoid", ("--output-activation",)),
}


@pytest.fixture(scope="module")
def directory(nnmpi: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the files that `BAD_INPUT` names, and a finished run."""
    path = tmp_path_factory.mktemp("bad")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 4)), np.arange(200) % 2
    np.savez(path / "one-class.npz", X=x, y=0 * y)
    x[61, 2] = np.nan
    np.savez(path / "nan.npz", X=x, y=y)
    (path / "broken.npz").write_bytes((path / "nan.npz").read_bytes()[:1000])
    (path / "plain").touch()
    nnmpi("train", "--data", "iris", "--epochs", "1", "--output", "run", cwd=path).succeeded()
    model = (path / "run/model.safetensors").read_bytes()
    (path / "half.safetensors").write_bytes(model[: len(model) // 2])
    return path


def arguments(bad: BadInput) -> list[str]:
    """Return the command. If it trains, it would overwrite the finished run."""
    words = bad.command.split()
    return [*words, "--output", "run", "--overwrite"] if words[0] == "train" and "plain/run" not in words else words


def check_refused(done: Done, bad: BadInput) -> None:
    assert done.status == 2, done
    assert len(done.messages) == 1, done.err
    assert all(word in done.messages[0] for word in bad.words), done.messages[0]
    assert "Traceback" not in done.out + done.err
    assert done.seconds < 120


@pytest.mark.parametrize("name", [name for name, bad in BAD_INPUT.items() if not bad.only_on_ranks])
def test_bad_input_is_refused(nnmpi: CommandServer, directory: Path, name: str) -> None:
    with unchanged(directory):
        done = nnmpi(*arguments(BAD_INPUT[name]), cwd=directory)
    check_refused(done, BAD_INPUT[name])
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


# errors in flags are found before MPI starts, so MPICH gets only two of these cases
BEFORE_MPI_STARTS = ("strange size", "unknown flag")
AFTER_MPI_STARTS = ("more ranks than shards", "NaN", "half a model")


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "name"),
    [*(("openmpi", name) for name in BAD_INPUT), *(("mpich", n) for n in BEFORE_MPI_STARTS + AFTER_MPI_STARTS)],
)
def test_bad_input_is_refused_on_three_ranks(directory: Path, library: str, name: str) -> None:
    with unchanged(directory):
        done = run(needed(library).nnmpi(3, *arguments(BAD_INPUT[name])), directory)
    check_refused(done, BAD_INPUT[name])


def test_no_command_shows_the_help(nnmpi: CommandServer) -> None:
    done = nnmpi().succeeded()
    assert "train" in done.out


def test_version(nnmpi: CommandServer) -> None:
    assert nnmpi("--version").succeeded().out.startswith("nnmpi, version ")


def test_module_is_the_command(tmp_path: Path) -> None:
    assert run([sys.executable, "-m", "nnmpi", "--version"], tmp_path).succeeded().out.startswith("nnmpi, version ")


def test_last_line_is_the_score(train: Callable[..., Run]) -> None:
    run = train("--data", "iris", "--epochs", "2")
    last = run.metrics[-1]
    assert run.last_line == f"test accuracy {last['test_accuracy']:.4f}, test loss {last['test_loss']:.4f}"


def test_output_is_named_after_the_data(nnmpi: CommandServer, tmp_path: Path) -> None:
    nnmpi("train", "--data", "iris", "--epochs", "0", cwd=tmp_path).succeeded()
    nnmpi("train", "--data", "random:100x3x2", "--epochs", "0", cwd=tmp_path).succeeded()
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"iris", "random-100x3x2"}
    assert {p.name for p in (tmp_path / "runs/iris").iterdir()} >= {"config.json", "metrics.jsonl", "model.safetensors"}


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "model.safetensors"])
def test_directory_where_a_file_should_go_is_refused(nnmpi: CommandServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "run" / name).mkdir(parents=True)
    with unchanged(tmp_path):
        done = nnmpi("train", "--data", "iris", "--output", "run", cwd=tmp_path)
    assert done.status == 2
    assert done.messages == [f"nnmpi: --output run: cannot be written ({name} is a directory); choose another"]
