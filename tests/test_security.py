"""Data from files, users and hosts is never executed; links are not followed; terminals get no escape sequences."""

import ast
import dataclasses
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzzing import Alone
from jobs import ROOT, CommandServer
from test_modelfile import MODELS

from nnmpi.commands.apply import evaluate_model, predict
from nnmpi.commands.info import info
from nnmpi.commands.train import train
from nnmpi.config import Config
from nnmpi.errors import InputError
from nnmpi.files.atomic import open_to_append, write_whole
from nnmpi.files.model import Model, Recipe, write_model
from nnmpi.text import LONGEST, message, printable

# the source code

PICKLING = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "torch",
    "pkl5",
}
RUNNING = {"eval", "exec", "compile", "__import__", "system", "popen"}
# methods of mpi4py's communicators that pickle; OBJECTS_OF_A_COMM are also names of other things
OBJECTS = {
    "bcast",
    "allgather",
    "alltoall",
    "allreduce",
    "exscan",
    "sendrecv",
    "isend",
    "irecv",
    "ssend",
    "bsend",
    "issend",
}
OBJECTS |= {"ibsend", "mprobe", "improbe", "isendrecv"}
OBJECTS_OF_A_COMM = {"send", "recv", "gather", "scatter", "reduce", "scan"}


def dangers(code: str) -> list[str]:
    """Return the imports and expressions in `code` that could unpickle or run data."""
    dangerous = []
    for node in ast.walk(ast.parse(code)):
        text = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            names = {part for alias in node.names for part in f"{module}.{alias.name}".split(".")}
            if names & PICKLING:
                dangerous.append(text)
        elif isinstance(node, ast.Attribute):
            if node.attr in OBJECTS or (node.attr in OBJECTS_OF_A_COMM and "comm" in ast.unparse(node.value).lower()):
                dangerous.append(text)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in RUNNING and text[:3] != "re.":
                dangerous.append(text)
            if text.startswith(("np.load(", "numpy.load(", "np.lib.format.read_array(")):
                dangerous += [text] * (arguments.get("allow_pickle") != "False")
            if arguments.get("allow_pickle") == "True" or arguments.get("shell") == "True":
                dangerous.append(text)
    return dangerous


FILES = sorted((ROOT / "nnmpi").rglob("*.py"))


# these write .joblib files and load only the bytes that they have just written
OWN_BYTES = {"nnmpi/export/check.py": ["import joblib"], "nnmpi/export/pipeline.py": ["import joblib"]}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_unpickles_or_runs_what_it_reads(file: Path) -> None:
    assert dangers(file.read_text()) == OWN_BYTES.get(str(file.relative_to(ROOT)), [])


DANGEROUS = """
import pickle
from joblib import load
from mpi4py.util import pkl5
comm.send(x, 1)
world.comm.gather(x)
self.comm.recv
x.bcast(1)
x._allreduce = mpi.COMM_WORLD.allreduce
eval(text)
os.system(text)
np.load(path)
np.load(path, allow_pickle=flag)
np.lib.format.read_array(file)
np.savez(file, allow_pickle=True, **arrays)
subprocess.run(text, shell=True)
""".strip().splitlines()


@pytest.mark.parametrize("line", DANGEROUS)
def test_the_audit_sees(line: str) -> None:
    assert dangers(line)


@pytest.mark.parametrize(
    "line", ["np.add.reduce(x)", "reduce.reduce()", "comm.Allreduce(x)", "np.load(p, allow_pickle=False)"]
)
def test_the_audit_does_not_see_ghosts(line: str) -> None:
    assert dangers(line) == []


def test_mpi_is_imported_in_one_place() -> None:
    users = [file.name for file in FILES if "import mpi4py" in file.read_text() or "from mpi4py" in file.read_text()]
    assert users == ["start.py"]


# files


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the number of BLAS threads."""
    for module in ("train", "apply", "info"):
        monkeypatch.setattr(f"nnmpi.commands.{module}.set_threads", lambda threads: None)


def run(directory: Path, resume: bool = False, epochs: int = 2) -> None:
    settings = {"hidden": (3,), "checkpoint_every": "2steps", "shards": 2}
    train(Config(data="random:40x3x2", epochs=epochs, output=str(directory), resume=resume, **settings), Alone())  # type: ignore[arg-type]


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_modes_that_the_umask_leaves(
    tmp_path: Path, mask: int, umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.umask(mask)
    modes, replace = [], os.replace

    def recording_replace(source: Path, target: Path) -> None:
        modes.append(os.stat(source).st_mode & 0o777)
        replace(source, target)

    monkeypatch.setattr("os.replace", recording_replace)
    run(tmp_path / "parent" / "run")
    np.savez(tmp_path / "table.npz", X=np.ones((9, 3)))
    predict(tmp_path / "parent" / "run", str(tmp_path / "table.npz"), None, tmp_path / "out.csv", Alone())
    assert set(modes) == {0o666 & ~mask}  # also before the files get their names
    written = [tmp_path / "out.csv", *(tmp_path / "parent").rglob("*"), tmp_path / "parent"]
    assert len(written) > 8
    for path in written:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


NAMES = ["config.json", "metrics.jsonl", "model.safetensors", "checkpoints/000000000002.json"]
NAMES += ["checkpoints/000000000002.safetensors"]
TEMPORARY = [str(Path(name).with_name(f".{Path(name).name}.new")) for name in NAMES]


@pytest.mark.parametrize("target", ["file", "missing", "directory"])
@pytest.mark.parametrize("name", NAMES + TEMPORARY)
def test_links_in_a_run_are_replaced_not_followed(tmp_path: Path, name: str, target: str) -> None:
    outside, directory = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (outside / "directory").mkdir()
    (directory / "checkpoints").mkdir(parents=True)
    (directory / name).symlink_to(outside / target)
    try:
        run(directory)
    except InputError as error:
        # a link to a directory may be refused; a link named like a checkpoint may look like an unfinished run
        assert str(directory) in str(error)  # noqa: PT017
        assert target == "directory" or "checkpoints" in name
    else:
        assert not (directory / name).is_symlink()
    assert (outside / "file").read_text() == "precious"
    assert sorted(path.name for path in outside.rglob("*")) == ["directory", "file"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.json", "model.safetensors"])
def test_links_are_not_followed_when_a_run_goes_on(tmp_path: Path, name: str) -> None:
    run(tmp_path / "run", epochs=1)
    precious = tmp_path / "precious"
    os.rename(tmp_path / "run" / name, precious)
    (tmp_path / "run" / name).symlink_to(precious)
    before = precious.read_bytes()
    run(tmp_path / "run", resume=True)
    assert precious.read_bytes() == before
    assert not (tmp_path / "run" / name).is_symlink()


def test_a_link_put_there_while_the_run_goes_on_is_not_appended_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        open_to_append(tmp_path / "metrics.jsonl")


def test_a_link_put_there_while_a_file_is_made_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".file.new").symlink_to(tmp_path / "precious")
    # as if another process made the link again at once
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: None)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "file", b"mine")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("resume", [False, True])
def test_checkpoints_elsewhere_are_refused_and_left(tmp_path: Path, resume: bool) -> None:
    run(tmp_path / "other")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "other" / "checkpoints")
    before = {path: path.read_bytes() for path in (tmp_path / "other" / "checkpoints").iterdir()}
    with pytest.raises(InputError, match=r"checkpoints is a link, to .*other/checkpoints"):
        run(tmp_path / "run", resume, epochs=3)
    assert {path: path.read_bytes() for path in (tmp_path / "other" / "checkpoints").iterdir()} == before


def test_output_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    run(tmp_path / "run")
    assert (tmp_path / "scratch" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["out.csv", "out.npz"])
@pytest.mark.parametrize("fails", ["fsync", "replace", "write"])
def test_predictions_are_whole_or_not_there(
    tmp_path: Path, name: str, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "run")
    np.savez(tmp_path / "table.npz", X=np.ones((9, 3)))
    out = tmp_path / name
    out.write_text("before")
    if fails == "fsync":  # it is not called, so nothing fails
        monkeypatch.setattr("os.fsync", lambda descriptor: pytest.fail("predictions need not outlive a power cut"))
        predict(tmp_path / "run", str(tmp_path / "table.npz"), None, out, Alone())
        assert out.read_bytes() != b"before"
        return

    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if fails == "replace":
        monkeypatch.setattr("os.replace", full)
    else:
        monkeypatch.setattr("nnmpi.commands.apply._write_csv" if name == "out.csv" else "numpy.savez", full)
    with pytest.raises(InputError, match="No space left"):
        predict(tmp_path / "run", str(tmp_path / "table.npz"), None, out, Alone())
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "run", "table.npz"]


# the data that a model file names


def model_named(path: Path, data: str) -> Path:
    recipe = Recipe(data, 0.2, 42, False)
    write_model(path / "model.safetensors", dataclasses.replace(MODELS["int classes"], recipe=recipe), False)
    return path


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("random:999999999x2x3", "refusing to generate"),
        ("random:9x999999999x3", "refusing to generate"),
        ("/etc/passwd", "not a file that ends in"),
        ("../missing.npz", "no such file"),
        ("/dev/zero", "not a file"),
        ("\x1b[2J", "unknown"),
    ],
)
def test_what_a_model_was_trained_on_is_read_only_within_bounds(tmp_path: Path, data: str, words: str) -> None:
    with pytest.raises(InputError) as refused:
        evaluate_model(model_named(tmp_path, data), None, False, Alone())
    text = str(refused.value)
    assert words in text
    assert "--data" in text
    assert text.isprintable()


def test_what_a_model_was_trained_on_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "table.npz"
    np.savez(data, X=np.arange(60.0).reshape(30, 2), y=np.resize([-3, 0, 7], 30))
    evaluate_model(model_named(tmp_path, str(data)), None, False, Alone())
    assert f"of {data}\n" in capsys.readouterr().out


# output to a terminal


@pytest.mark.parametrize("text", ["\x1b[31m", "\x07", "a\nb", "a\rb", "\u202e", "\x9b2J", "\udcff", "\u2028", "\x00"])
def test_what_a_terminal_would_obey_is_escaped(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text).startswith(("\\", "a\\"))
    printable(text).encode()


def test_letters_stay() -> None:
    assert printable("ä “é” 漢字 …") == "ä “é” 漢字 …"


def test_a_novel_is_cut() -> None:
    assert len(message("x" * 10**7)) <= LONGEST + 10
    assert message("begin" + "x" * 10**4 + "end").startswith("beginx")
    assert message("begin" + "x" * 10**4 + "end").endswith("xend")


EVIL = np.unique(["\x1b]0;owned\x07", "a\nnnmpi: b", "\u202ec"])


def evil_model(path: Path) -> Model:
    model = dataclasses.replace(
        MODELS["int classes"], targets=dataclasses.replace(MODELS["int classes"].targets, classes=EVIL)
    )
    write_model(path / "model.safetensors", model, False)
    return model


def test_labels_are_shown_escaped_and_kept_in_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil_model(tmp_path)
    np.savez(tmp_path / "table.npz", X=np.random.default_rng(0).normal(size=(300, 2)) * 9)
    predict(tmp_path, str(tmp_path / "table.npz"), None, None, Alone())
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 301
    assert {line for line in lines if line} <= {printable(label) for label in EVIL}
    assert all(line.isprintable() for line in lines)
    predict(tmp_path, str(tmp_path / "table.npz"), None, tmp_path / "out.npz", Alone())
    with np.load(tmp_path / "out.npz", allow_pickle=False) as table:
        assert table["classes"].tolist() == EVIL.tolist()


def test_labels_in_errors_are_escaped(tmp_path: Path, nnmpi: CommandServer) -> None:
    evil_model(tmp_path)
    np.savez(tmp_path / "table.npz", X=np.ones((9, 2)), y=["\x1b[2J"] * 9)
    done = nnmpi("evaluate", str(tmp_path), "--data", "table.npz", cwd=tmp_path)
    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    assert done.err[:-1].isprintable()
    assert "owned" in done.err


def test_names_of_hosts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    world = Alone()
    world.host = "\x1b[2Jnode[red]1"
    info(world, None, False, None)
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\\x1b[2Jnode[red]1 (1 rank)" in out
