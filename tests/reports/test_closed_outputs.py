"""Outputs that are closed, full or no longer read: a training continues, other commands end."""

# open-mmlab/mmsegmentation 1998: a training ended with the terminal that showed it

import json
import os
import subprocess
from pathlib import Path

import pytest
from jobs import Environment, needed, variables

LONG = "train --data iris --epochs 30 --output run"


def shell(script: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a script of bash; ``$N`` is nnmpi of Open MPI's environment."""
    environment = variables(N=needed("openmpi").program("nnmpi"))
    return subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def check_complete(run: Path) -> None:
    assert json.loads((run / "config.json").read_text())["finished"] is True
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 30
    assert (run / "model.safetensors").exists()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model in ``model``."""
    path = tmp_path_factory.mktemp("closed")
    shell("$N train --data iris --epochs 1 --output model", path).check_returncode()
    return path


@pytest.mark.parametrize(
    "output",
    ["| head -n 1", "2>&1 | true", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "> /dev/full", ">/dev/full 2>/dev/full"],
)
def test_training_without_a_reader_finishes(output: str, tmp_path: Path) -> None:
    done = shell(f"{{ $N {LONG}; echo $? > status; }} {output}", tmp_path)
    assert ((tmp_path / "status").read_text(), done.stderr) == ("0\n", "")
    check_complete(tmp_path / "run")


@pytest.mark.mpi
@pytest.mark.parametrize("output", ["| head -n 1", "2>&1 | true", ">&- 2>&-", "> /dev/full 2>&1"])
@pytest.mark.in_turn
def test_launched_training_without_a_reader_finishes(mpi: Environment, output: str, tmp_path: Path) -> None:
    shell(f"{{ {mpi.program('nnmpi')} launch -n 2 -- {LONG}; echo $? > status; }} {output}", tmp_path)
    assert (tmp_path / "status").read_text() == "0\n"
    check_complete(tmp_path / "run")


@pytest.mark.parametrize(
    "command", ["evaluate model", "predict model --data iris", "info", "--help", "train --help", "--version"]
)
def test_other_commands_end_as_what_sigpipe_ended(command: str, directory: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = needed("openmpi").program("nnmpi")
    done = subprocess.run(
        [program, *command.split()], cwd=directory, env=variables(), stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == (0 if command.startswith("train") else 141)


RESULT_IS_THE_OUTPUT = [
    "evaluate model",
    "predict model --data iris",
    "info",
    "train --dry-run",
    "launch -n 2 --dry-run info",
]


@pytest.mark.parametrize("command", RESULT_IS_THE_OUTPUT)
def test_full_output_is_an_error_of_other_commands(command: str, directory: Path) -> None:
    done = shell(f"$N {command} > /dev/full", directory)
    assert done.returncode == 1
    assert done.stderr == "nnmpi: standard output cannot be written (No space left on device)\n"


@pytest.mark.mpi
@pytest.mark.in_turn
def test_launched_command_ends_as_on_one_process(mpi: Environment, directory: Path) -> None:
    launch = f"{mpi.program('nnmpi')} launch -n 2 -- predict model --data random:60000x4x3"
    done = shell(f"{launch} > /dev/full", directory)
    assert done.returncode == 1
    assert "nnmpi: standard output cannot be written (No space left on device)\n" in done.stderr
    assert shell(f"{launch} | head -n 1; exit ${{PIPESTATUS[0]}}", directory).returncode == 141


@pytest.mark.parametrize("command", ["evaluate model", "predict model --data iris", "info", "--version"])
def test_closed_output_is_like_dev_null(command: str, directory: Path) -> None:
    done = shell(f"$N {command} >&-", directory)
    assert (done.returncode, done.stderr) == (0, "")


def test_error_without_standard_error_keeps_its_status(directory: Path) -> None:
    assert shell("$N evaluate missing 2>&-", directory).returncode == 2
    assert shell("$N train --bogus >&- 2>&-", directory).returncode == 2


def test_pipe_that_does_not_block_loses_nothing(directory: Path) -> None:
    """A parent process may make its end of the pipe non-blocking."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [needed("openmpi").program("nnmpi"), "predict", "model", "--data", "random:60000x4x3"]
    with subprocess.Popen(command, cwd=directory, env=variables(), stdout=writer) as process:
        os.close(writer)
        with open(reader) as pipe:
            lines = pipe.read().splitlines()
        assert process.wait(180) == 0
    assert len(lines) == 60_000
