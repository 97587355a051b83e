"""Characters that an encoding lacks are replaced. Escape codes are written to terminals only."""

# reported as pytorch/pytorch 5109: output in an encoding that lacks a character

import os
import pty
import subprocess
from pathlib import Path

import numpy as np
import pytest
from jobs import Environment, needed, variables

ENCODINGS = {"ascii": "ascii", "latin-1": "latin-1", "cp1252": "cp1252", "koi8-r": "koi8-r"}
LABELS = ["λ", "😀", "ß"]


def run(command: list[str], cwd: Path, **extra: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, cwd=cwd, env=variables(**extra), capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("terminals")
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 3
    np.savez(path / "λ.npz", X=rng.normal(size=(60, 4)) + 5 * codes[:, None], y=np.array(LABELS)[codes])
    train = [needed("openmpi").program("nnmpi"), "train", "--data", "λ.npz", "--epochs", "20", "--output", "run-λ"]
    assert run(train, path, PYTHONIOENCODING="ascii").returncode == 0
    return path


PREDICT = "predict run-λ --data λ.npz"
SHOWN = ["train --help", "--help", "info", "evaluate run-λ", PREDICT, "train --data λ.npz --epochs 1"]
CASES = [*((arguments, "ascii") for arguments in SHOWN), *((PREDICT, name) for name in ENCODINGS if name != "ascii")]


@pytest.mark.parametrize(("arguments", "encoding"), [*CASES, ("train --help", "latin-1")])
def test_every_encoding_shows_something(directory: Path, arguments: str, encoding: str) -> None:
    program = needed("openmpi").program("nnmpi")
    done = run([program, *arguments.split()], directory, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done
    assert b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode(encoding)
    if encoding == "ascii":
        assert max(done.stdout, default=0) < 128
    if arguments.startswith("predict"):
        expected = [label.encode(encoding, "backslashreplace").decode(encoding) for label in LABELS]
        assert set(done.stdout.decode(encoding).splitlines()) == set(expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_errors_in_every_encoding(directory: Path, encoding: str) -> None:
    program = needed("openmpi").program("nnmpi")
    done = run([program, "evaluate", "missing-😀"], directory, PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert len(done.stderr.decode(encoding).splitlines()) == 1


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_files_are_utf_8_in_every_locale(directory: Path, variables: dict[str, str]) -> None:
    program = needed("openmpi").program("nnmpi")
    done = run([program, "predict", "run-λ", "--data", "λ.npz", "--out", "p.csv"], directory, **variables)
    assert done.returncode == 0, done
    assert {line.split(",")[0] for line in (directory / "p.csv").read_text("utf-8").splitlines()[1:]} == set(LABELS)


def on_a_terminal(command: list[str], cwd: Path, **extra: str) -> bytes:
    """Run a command on a terminal and return its output."""
    main, other = pty.openpty()
    environment = variables(**({"TERM": "xterm"} | extra))
    with subprocess.Popen(command, cwd=cwd, env=environment, stdin=other, stdout=other, stderr=other) as process:
        os.close(other)
        output = b""
        try:
            while data := os.read(main, 65536):
                output += data
        except OSError:  # the end of a terminal
            pass
        assert process.wait(180) == 0, output
    os.close(main)
    return output


TRAIN = ["train", "--data", "iris", "--epochs", "2", "--overwrite", "--output", "run"]


@pytest.mark.parametrize("extra", [{"TERM": "dumb"}, {"TERM": ""}, {"NO_COLOR": "1"}])
def test_terminals_without_escape_codes(extra: dict[str, str], tmp_path: Path) -> None:
    program = needed("openmpi").program("nnmpi")
    assert b"\x1b" in on_a_terminal([program, *TRAIN], tmp_path)
    assert b"\x1b" not in on_a_terminal([program, *TRAIN], tmp_path, **extra)


@pytest.mark.mpi
@pytest.mark.parametrize("wrapper", ['nnmpi "$@"; exit $?', 'sh -c \'nnmpi "$@"; exit $?\' sh "$@"; exit $?'])
@pytest.mark.in_turn
def test_log_file_behind_wrapper_scripts_has_no_escapes(mpi: Environment, wrapper: str, tmp_path: Path) -> None:
    script = tmp_path / "wrapper"
    script.write_text(f"#!/bin/sh\nPATH={mpi.directory}/bin:$PATH\n{wrapper}\n")
    script.chmod(0o755)
    command = mpi.mpiexec(2, str(script), *TRAIN)
    done = run(command, tmp_path, TERM="xterm")
    assert done.returncode == 0, done
    assert b"\x1b" not in done.stdout + done.stderr
    on_a_terminal(["sh", "-c", '"$@" > log', "sh", *command], tmp_path)
    assert b"epoch 2/2" in (tmp_path / "log").read_bytes()
    assert b"\x1b" not in (tmp_path / "log").read_bytes()
    if mpi.mpi == "openmpi":
        assert b"\x1b" in on_a_terminal(command, tmp_path)
