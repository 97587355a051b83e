"""Checkpoints of whole runs: kills while a checkpoint is written, and which runs may be resumed."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from jobs import CommandServer, Job, program_path, read_metrics, unchanged


@pytest.mark.slow
def test_many_kills(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kills = 100 if request.config.getoption("--slow") else 30
    with ExitStack() as stack:
        jobs = []
        for seed in ("1", "2"):
            (tmp_path / seed).mkdir()
            command = [sys.executable, program_path("kill_at_checkpoints.py"), str(kills), seed, str(tmp_path / seed)]
            jobs.append(stack.enter_context(Job(command, tmp_path)))
        outputs = [job.wait(400).succeeded().out for job in jobs]
    for output in outputs:
        lines = [json.loads(line) for line in output.splitlines()]
        assert len(lines) == kills
        for kill in lines:
            assert kill["damaged"] == []
            # the next run resumes from the last complete checkpoint
            assert kill["newest"] == kill["complete"] > kill["before"]
        for kill in lines[1:]:
            assert "starting from the beginning" not in kill["said"]


def test_unfinished_run_is_not_overwritten(nnmpi: CommandServer, tmp_path: Path) -> None:
    train = ("train", "--data", "iris", "--epochs", "3", "--output", "run")
    nnmpi(*train, "--checkpoint-every", "1steps", cwd=tmp_path).succeeded()
    checkpoints = tmp_path / "run/checkpoints"
    for path in sorted(checkpoints.glob("*"))[-2:]:
        path.unlink()  # the last checkpoint, which says that the run has finished
    with unchanged(tmp_path):
        done = nnmpi(*train, cwd=tmp_path)
    assert done.status == 2
    assert "--resume" in done.messages[0]


def test_finished_run_can_be_done_again_or_prolonged(nnmpi: CommandServer, tmp_path: Path) -> None:
    train = ("train", "--data", "iris", "--output", "run")
    first = nnmpi(*train, "--epochs", "2", cwd=tmp_path).succeeded()
    again = nnmpi(*train, "--epochs", "2", "--overwrite", cwd=tmp_path).succeeded()
    assert again.out.splitlines()[-1] == first.out.splitlines()[-1]
    longer = nnmpi(*train, "--epochs", "5", "--resume", cwd=tmp_path).succeeded()
    straight = nnmpi(*train, "--epochs", "5", "--output", "other", cwd=tmp_path).succeeded()
    assert longer.out.splitlines()[-1] == straight.out.splitlines()[-1]
    assert [m["epoch"] for m in read_metrics(tmp_path / "run")] == [1, 2, 3, 4, 5]


def test_resuming_with_other_settings_lists_the_differences(nnmpi: CommandServer, tmp_path: Path) -> None:
    train = ("train", "--data", "iris", "--epochs", "2", "--output", "run")
    nnmpi(*train, cwd=tmp_path).succeeded()
    with unchanged(tmp_path):
        done = nnmpi(*train, "--resume", "--hidden", "9,8", "--l2", "0.1", cwd=tmp_path)
    assert done.status == 2
    (message,) = done.messages
    assert "--hidden was 128,64, is 9,8" in message
    assert "--l2 was 0.0, is 0.1" in message


def test_resuming_with_other_data_under_the_same_name_is_refused(nnmpi: CommandServer, tmp_path: Path) -> None:
    train = ("train", "--data", "table.npz", "--epochs", "2", "--output", "run")
    x, y = np.random.default_rng(0).random((100, 3)), np.arange(100) % 2
    np.savez(tmp_path / "table.npz", X=x, y=y)
    nnmpi(*train, cwd=tmp_path).succeeded()
    np.savez(tmp_path / "table.npz", X=x + 1, y=y)
    done = nnmpi(*train, "--resume", cwd=tmp_path)
    assert done.status == 2
    assert "is not what the run was trained on" in done.messages[0]


def test_what_the_bits_depend_on_is_recorded_and_compared(nnmpi: CommandServer, tmp_path: Path) -> None:
    train = ("train", "--data", "iris", "--epochs", "2", "--deterministic", "--output", "run")
    nnmpi(*train, "--threads", "1", cwd=tmp_path).succeeded()
    bits = json.loads((tmp_path / "run/config.json").read_text())["bits"]
    assert bits["blas"]["threads"] == 1
    assert all(bits["blas"].values())
    assert bits["numpy"] == np.__version__
    done = nnmpi(*train, "--resume", "--threads", "2", cwd=tmp_path).succeeded()
    assert "the bits may differ" in done.err
    assert "'threads': 1" in done.err
