"""Command lines with any text for any flag: each is prepared to run, or refused with status 2 and one line."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import Alone, bounded, ends_well, fuzz, is_one_clear_line
from hypothesis import given
from hypothesis import strategies as st

from nnmpi.cli import main
from nnmpi.config import Config
from nnmpi.errors import CommandError
from nnmpi.launching.hostfile import read_hostfile
from nnmpi.setting import flag_of
from nnmpi.training.task import prepare

pytestmark = pytest.mark.slow


def job(work: Callable[[Any], int | None], mpi: Any = None) -> int:
    """`nnmpi.commands.job.run`, without MPI."""
    try:
        return work(Alone()) or 0
    except CommandError as error:
        print(f"nnmpi: {error}", file=sys.stderr)
        return error.status


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of commands, which run without MPI and stop before they train."""
    path = tmp_path_factory.mktemp("commands")
    np.savez(path / "table.npz", X=np.arange(60.0).reshape(20, 3), y=np.arange(20) % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr("nnmpi.commands.job.run", job)
        patch.setattr("nnmpi.commands.train.train", lambda config, world, screen: prepare(config, world, config.shards))
        patch.setattr("nnmpi.commands.apply.set_threads", lambda threads: None)
        yield path


def start(*arguments: str) -> int:
    """Run a command and return its status. It must succeed, or be refused with status 2 and one line."""
    with bounded(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main(list(arguments))
        except SystemExit as end:
            status = end.code
    assert status in (0, 2), err.getvalue()
    if status == 2:
        (line,) = err.getvalue().split("\n")[:-1]
        assert line.startswith("nnmpi: "), line
        assert is_one_clear_line(line), line
    return int(status)


WORDS = [
    "",
    "0",
    "1",
    "2",
    "8",
    "-1",
    "1.5",
    "1e400",
    "-1e400",
    "nan",
    "inf",
    "9" * 5000,
    "9" * 400,
    "1_0",
    "\uff12",  # a digit of full width
    "²",
    "0x10",
    " 3 ",
]
WORDS += [
    "none",
    "full",
    "auto",
    "mse",
    "adam",
    "float64",
    "never",
    "3steps",
    "1epoch",
    "9" * 9 + "minutes",
    "0steps",
    "x" * 9999,
]
WORDS += [
    "--",
    "-",
    "-x",
    "\x1b[31mred",
    "\udcff",
    "\u202e",
    "a\nb",
    "8,8",
    "8,,8",
    "1," * 3000 + "1",
    "9" * 12 + "," + "9" * 12,
]
WORDS += [
    "shift",
    "noise,noise",
    "true",
    "None",
    "1e-320",
    "0.999999999",
    "1/2",
    "4294967296",
    "../..",
    "/dev/null",
    "%s%n",
    "{}",
]
DATA = [
    "table.npz",
    "iris",
    "digits",
    "random:50x3x2",
    "random:9x9x9",
    "random:1x1x1",
    "random:999999999999x9x9",
    "missing.npz",
]
DATA += [
    "random:9x999999999x9",
    "random:99999x9",
    "a/b",
    "/dev/zero",
    ".",
    "x" * 300 + ".npz",
    "\udcff.npz",
    "random:\uff15x3x2",
    "/.npz",
]
words = st.sampled_from(WORDS) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
words |= st.integers().map(str) | st.floats().map(str)
FLAGS = [flag_of(f.name) for f in fields(Config)]
SWITCHES = [flag_of(f.name) for f in fields(Config) if isinstance(f.default, bool)]
settings = st.tuples(st.sampled_from([f for f in FLAGS if f not in SWITCHES]), words)
settings |= st.tuples(st.just("--data"), st.sampled_from(DATA)) | st.sampled_from(SWITCHES).map(lambda flag: (flag,))
settings |= st.tuples(words)


@given(chosen=st.lists(settings, min_size=1, max_size=4))
@fuzz
@pytest.mark.slow
def test_train(directory: Path, chosen: list[tuple[str, ...]]) -> None:
    start("train", "--data", "table.npz", "--shards", "2", *(word for setting in chosen for word in setting))


@given(name=st.sampled_from([f.name for f in fields(Config)]), value=words)
@fuzz
def test_one_setting(directory: Path, name: str, value: str) -> None:
    start("train", "--data", "table.npz", "--shards", "2", f"{flag_of(name)}={value}")


@given(
    command=st.sampled_from(["train", "evaluate", "predict", "info", "--help", "-x"]) | words,
    rest=st.lists(words, max_size=4),
)
@fuzz
def test_any_words(directory: Path, command: str, rest: list[str]) -> None:
    if command != "info":  # it needs an MPI
        start(command, *rest)


@given(data=words | st.sampled_from(DATA), model=words, out=words)
@fuzz
def test_paths(directory: Path, data: str, model: str, out: str) -> None:
    start("evaluate", "--data", data, "--", model)
    start("predict", "--data", data, "--out", out + ".csv", "--", model)


HOSTS = [
    "node01 slots=8",
    "node01:8",
    "u@node01",
    "# none",
    "",
    " ",
    "a slots = 4 max_slots=8",
    "a slots=0",
    "a:0",
    "::1",
    "a=b",
]
HOSTS += [
    "a slots=" + "9" * 5000,
    "-x",
    "a\0b",
    "\x1b[31m",
    "\u2028",
    "x" * 9999,
    "a:\u00b2",
    "a:1:2",
    "slots=1",
    "=",
    ":",
    "a b c",
]


@given(
    lines=st.lists(st.sampled_from(HOSTS) | words, max_size=5),
    end=st.sampled_from([b"", b"\n", b"\xff", b"\r\n", b"\0"]),
)
@fuzz
def test_hostfiles(directory: Path, lines: list[str], end: bytes) -> None:
    (directory / "hosts").write_bytes("\n".join(lines).encode(errors="surrogateescape") + end)
    for mpi in ("Open MPI", "MPICH", "Intel MPI"):
        for host in ends_well(lambda mpi=mpi: read_hostfile(directory / "hosts", mpi)) or []:
            assert host.name[0] != "-"
            assert host.slots is None or host.slots > 0


TRICKS = [
    "train --hidden 1000000000",
    "train --hidden 999999999999,999999999999",
    f"train --hidden {'9' * 400}",
    "train --data random:1000000000000x9x9",
    "train --data random:9x999999999x9",
    "train --data \udcff.npz",
    "train --data \udcff",
    "train --data \x1b[31m/x",
    f"train --data {'x' * 300}.npz",
    f"train --data {'x/' * 3000}.npz",
    f"train --epochs {'9' * 5000}",
    f"train --threads {'9' * 30} --epochs -1",
    "evaluate \udcff",
    "evaluate " + "\udcff" * 300,
    "evaluate \x1b[31m",
    f"evaluate {'x' * 300}",
    "\x1b[31m",
]


@pytest.mark.parametrize("command", TRICKS, ids=range(len(TRICKS)))
def test_refused(directory: Path, command: str) -> None:
    assert start(*command.split(" ")) == 2
