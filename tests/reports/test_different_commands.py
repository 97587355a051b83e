"""Ranks of one job with different commands are refused with one message and status 2, and do not hang."""

# reported as pytest-dev/pytest-mpi 49: one rank refuses its command, and the others wait

from pathlib import Path

import pytest
from jobs import CommandServer, Environment, run

COMMANDS = {
    "train : evaluate": (["train", "--data", "iris", "--output", "new"], ["evaluate", "model"]),
    "evaluate : train": (["evaluate", "model"], ["train", "--data", "iris", "--output", "new"]),
    "predict : info": (["predict", "model", "--data", "iris"], ["info"]),
    "two models": (["evaluate", "model"], ["evaluate", "other"]),
    "two files": (["predict", "model", "--data", "iris"], ["predict", "model", "--data", "wine"]),
}


@pytest.mark.mpi
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.in_turn
def test_different_commands_are_refused(nnmpi: CommandServer, mpi: Environment, name: str, tmp_path: Path) -> None:
    for model in ("model", "other"):
        nnmpi("train", "--data", "iris", "--epochs", "0", "--output", model, cwd=tmp_path).succeeded()
    first, second = ([mpi.program("nnmpi"), *words] for words in COMMANDS[name])
    done = run(mpi.mpiexec_each(first, second, second), tmp_path, timeout=90)
    assert done.status == 2
    (message,) = done.messages
    assert "ranks 1, 2 and rank 0 run with different" in message
    assert not (tmp_path / "new").exists()
