"""The output of ``train``, the content of config.json, and --dry-run and lr-find, which write nothing."""

import json
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, needed, run, unchanged
from sklearn.datasets import load_iris

from nnmpi import __version__
from nnmpi.commands.lr_find import smoothed, suggested
from nnmpi.files.git_commit import git_commit

TRAIN = ("train", "iris", "--epochs", "3", "--overwrite", "--output", "run")


@pytest.mark.slow
def test_start_and_end_are_said_and_the_last_line_is_the_score(nnmpi: CommandServer, tmp_path: Path) -> None:
    out = nnmpi(*TRAIN, "--early-stopping", "5", cwd=tmp_path).succeeded().out
    lines = out.splitlines()
    labels = [line.split()[0] for line in lines]
    assert labels[:6] == ["target", "data", "network", "training", "ranks", "output"]
    assert lines[1] == "data      iris: 150 rows, 4 features, 3 classes; 108 training, 12 validation, 30 test"
    assert "4-128-64-3" in lines[2]
    assert "1 rank on 1 host" in lines[4]
    assert labels[-5:-1] == ["best", "time", "results", "next"]
    next_command = lines[-2].removeprefix("next").split()
    assert nnmpi(*next_command[1:], cwd=tmp_path).succeeded()
    metrics = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = min(metrics, key=lambda m: m["validation_loss"])
    expected = f"best      validation loss {best['validation_loss']:.4f} after epoch {best['epoch']} of 3"
    assert lines[-5] == expected


def test_quiet_prints_the_score_only(nnmpi: CommandServer, tmp_path: Path) -> None:
    everything = nnmpi(*TRAIN, cwd=tmp_path).succeeded().out
    done = nnmpi(*TRAIN, "--quiet", cwd=tmp_path).succeeded()
    assert done.out.splitlines() == everything.splitlines()[-1:]
    assert done.err == ""


@pytest.mark.parametrize(("progress", "epochs"), [("none", 0), ("plain", 3), ("live", 3), ("auto", 3)])
def test_progress_decides_on_the_lines_of_epochs(
    nnmpi: CommandServer, progress: str, epochs: int, tmp_path: Path
) -> None:
    out = nnmpi(*TRAIN, "--progress", progress, cwd=tmp_path).succeeded().out
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == epochs
    assert "\x1b" not in out
    assert out.splitlines()[-1].startswith("test accuracy ")


def test_json_lines_are_the_events(nnmpi: CommandServer, tmp_path: Path) -> None:
    done = nnmpi(*TRAIN, "--checkpoint-every", "2epochs", "--json", cwd=tmp_path).succeeded()
    events = [json.loads(line) for line in done.out.splitlines()]
    names = [event.pop("event") for event in events]
    assert names == ["start", "epoch", "epoch", "checkpoint", "epoch", "checkpoint", "finished"]
    metrics = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    epochs = [event for event, name in zip(events, names, strict=True) if name == "epoch"]
    assert [{k: v for k, v in event.items() if k != "is_best"} for event in epochs] == metrics
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert events[0]["settings"] == config["settings"]
    assert events[-1]["scores"] == config["scores"]


def test_config_json_says_how_the_run_was_started(nnmpi: CommandServer, tmp_path: Path) -> None:
    for words in ("init -q", "commit -q --allow-empty -m first"):
        git = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", *words.split()]
        subprocess.run(git, cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    nnmpi(*TRAIN, cwd=tmp_path).succeeded()
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["git_commit"] == head.stdout.strip()
    assert datetime.fromisoformat(config["started"]) <= datetime.fromisoformat(config["ended"])
    assert config["scores"]["test"]["accuracy"] >= 0
    assert config["versions"]["nnmpi"] == __version__


@pytest.mark.mpi
def test_command_line_stands_in_config_json(tmp_path: Path) -> None:
    environment = needed("openmpi")
    run([environment.program("nnmpi"), *TRAIN], tmp_path, SLURM_JOB_ID="77").succeeded()
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["command"] == [environment.program("nnmpi"), *TRAIN]
    assert config["slurm"]["SLURM_JOB_ID"] == "77"


def test_git_commit_in_all_layouts(tmp_path: Path) -> None:
    def git(*words: str, cwd: Path) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", *words]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()

    assert git_commit(tmp_path) is None
    repository = tmp_path / "repository"
    (repository / "folder").mkdir(parents=True)
    git("init", "-q", cwd=repository)
    assert git_commit(repository) is None  # nothing is committed yet
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=repository)
    head = git("rev-parse", "HEAD", cwd=repository)
    assert git_commit(repository / "folder") == head
    git("worktree", "add", "-q", "../other", cwd=repository)
    assert git_commit(tmp_path / "other") == head
    git("pack-refs", "--all", cwd=repository)
    assert git_commit(repository) == git_commit(tmp_path / "other") == head
    git("checkout", "-q", "--detach", cwd=repository)
    assert git_commit(repository) == head
    (repository / ".git/HEAD").write_text("ref: ../../secret\n")
    assert git_commit(repository) is None


def test_dry_run_writes_nothing(nnmpi: CommandServer, tmp_path: Path) -> None:
    with unchanged(tmp_path):
        out = nnmpi("train", "digits", "--dry-run", "--timeline", "t", cwd=tmp_path).succeeded().out
    labels = [line.split()[0] for line in out.splitlines()]
    assert labels[-6:] == ["reading", "step", "time", "memory", "disk", "dry"]
    assert "10 epochs, 450 steps" in out


@pytest.mark.parametrize(
    ("flags", "word"),
    [(("--output", "plain/run"), "plain"), (("--shards", "0"), "--shards"), (("--hidden", "x"), "x")],
)
def test_dry_run_refuses_what_the_training_would(
    nnmpi: CommandServer, flags: tuple[str, ...], word: str, tmp_path: Path
) -> None:
    (tmp_path / "plain").touch()
    done = nnmpi("train", "iris", "--dry-run", *flags, cwd=tmp_path)
    assert done.status == 2
    assert word in done.messages[0]


def test_lr_find_suggests_a_rate_that_trains(nnmpi: CommandServer, tmp_path: Path) -> None:
    with unchanged(tmp_path):
        out = nnmpi("lr-find", "digits", "--deterministic", "--seed", "3", cwd=tmp_path).succeeded().out
    rate = out.splitlines()[-1].removeprefix("suggestion: --learning-rate ")
    assert 0.003 < float(rate) < 0.3
    trained = nnmpi("train", "digits", "--epochs", "2", "--learning-rate", rate, "-q", cwd=tmp_path).succeeded().out
    assert float(trained.split()[2].rstrip(",")) > 0.85


def test_lr_find_goes_on_after_first_batches_of_weight_0(nnmpi: CommandServer, tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    weights = np.ones(len(y))
    weights[np.arange(len(y)) % 5 < 4] = 0
    np.savez(tmp_path / "iris.npz", X=X, y=y, sample_weight=weights)
    flags = ("--batch-size", "1", "--highest", "0.01", "--hidden", "8")
    out = nnmpi("lr-find", "iris.npz", *flags, cwd=tmp_path).succeeded().out
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert rows[-1][0] == "0.01"
    assert all(float(loss) > 0.1 for _, loss in rows)


@pytest.mark.slow
def test_lr_find_obeys_its_flags(nnmpi: CommandServer, tmp_path: Path) -> None:
    sweep = ("lr-find", "digits", "--lowest", "0.001", "--highest", "0.1", "--picture", "sweep.svg")
    out = nnmpi(*sweep, cwd=tmp_path).succeeded().out
    rates = [float(line.split()[0]) for line in out.splitlines()[1:-2]]
    assert rates[0] == 0.001
    assert rates[-1] == 0.1
    assert (tmp_path / "sweep.svg").read_text().startswith("<?xml")
    for flags, word in ((("--lowest", "1", "--highest", "0.1"), "--lowest"), (("--picture", "a.gif"), "--picture")):
        done = nnmpi("lr-find", *flags, cwd=tmp_path)
        assert done.status == 2
        assert word in done.messages[0]
    assert "--batch-size" in nnmpi("lr-find", "iris", cwd=tmp_path).messages[0]


@pytest.mark.mpi
@pytest.mark.slow
def test_lr_find_is_the_same_on_three_ranks(nnmpi: CommandServer, tmp_path: Path) -> None:
    sweep = ("lr-find", "digits", "--deterministic", "--batch-size", "16")
    done = run(needed("openmpi").nnmpi(3, *sweep), tmp_path).succeeded()
    assert done.out == nnmpi(*sweep, cwd=tmp_path).succeeded().out


def test_suggestion_is_a_tenth_of_the_rate_with_the_lowest_loss() -> None:
    rates = np.geomspace(1e-5, 10, 200)
    noise = np.random.default_rng(0).normal(scale=0.05, size=200)
    losses = list(2 - np.exp(-((np.log10(rates / 0.3) / 1.5) ** 2)) + noise)  # lowest at 0.3
    assert suggested(rates, smoothed(losses, 13)) == pytest.approx(0.03, rel=0.5)
    assert suggested(rates, [1.0 + rate for rate in rates]) is None
    assert smoothed([1.0, 2.0, 3.0], 1) == pytest.approx([4 / 3, 2, 8 / 3])
