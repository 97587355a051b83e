"""Inputs and outputs that are not regular files are refused before the start. They are not replaced or removed."""

# found while checking pytorch/pytorch 5109 (encodings of outputs)

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs import CommandServer, needed, run
from sklearn.datasets import load_iris

from nnmpi.files.atomic import check_replaceable, check_writable, whole_file, write_whole


def make_socket(path: Path) -> None:
    working_directory = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has a maximum length
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(working_directory)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a socket": make_socket,
    "a directory": Path.mkdir,
    "a device": make_device,
}
COMMANDS = {
    "p.csv": "predict model --data iris --out p.csv",
    "p.npz": "predict model --data iris --out p.npz",
    "t.json": "train --data iris --epochs 1 --output run --timeline t.json",
    "run/config.json": "train --data iris --epochs 1 --output run",
    "run/metrics.jsonl": "train --data iris --epochs 1 --output run --overwrite",
    "run/model.safetensors": "train --data iris --epochs 1 --output run --resume",
}


@pytest.fixture(scope="module")
def directory(nnmpi: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    nnmpi("train", "--data", "iris", "--epochs", "1", "--output", "model", cwd=path).succeeded()
    (path / "run").mkdir()
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_no_file_is_refused_and_kept(nnmpi: CommandServer, directory: Path, name: str, kind: str) -> None:
    path = directory / name
    KINDS[kind](path)
    before = path.lstat()
    done = nnmpi(*COMMANDS[name].split(), cwd=directory)
    after = path.lstat()
    path.rmdir() if kind == "a directory" else path.unlink()
    assert done.status == 2
    assert done.out == ""
    (message,) = done.messages
    assert f"{path.name} is {kind}" in message
    assert (before.st_mode, before.st_ino, before.st_rdev) == (after.st_mode, after.st_ino, after.st_rdev)
    assert list((directory / "run").iterdir()) == []


@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize("name", ["p.csv", "t.json", "run/metrics.jsonl"])
def test_on_three_ranks(directory: Path, name: str) -> None:
    os.mkfifo(directory / name)
    done = run(needed("openmpi").nnmpi(3, *COMMANDS[name].split()), directory)
    (directory / name).unlink()
    assert (done.status, len(done.messages)) == (2, 1)


@pytest.mark.parametrize("output", ["/dev/null", "model/config.json", "/dev/stdout"])
def test_output_that_is_no_directory(nnmpi: CommandServer, directory: Path, output: str) -> None:
    done = nnmpi("train", "--data", "iris", "--epochs", "1", "--output", output, cwd=directory)
    assert (done.status, len(done.messages)) == (2, 1)
    assert "not a directory" in done.messages[0]


@pytest.mark.parametrize("timeline", ["/dev/null", "/dev/stdout", "/dev/full"])
def test_timeline_that_is_a_device(nnmpi: CommandServer, directory: Path, timeline: str) -> None:
    done = nnmpi("train", "--data", "iris", "--output", "new", "--timeline", timeline, cwd=directory)
    assert (done.status, len(done.messages)) == (2, 1)
    assert Path("/dev/stdout").is_symlink()
    assert all(stat.S_ISCHR(Path(name).stat().st_mode) for name in ("/dev/null", "/dev/full"))


def test_what_stands_in_the_place_of_the_new_file_is_kept(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".a.new")
    with pytest.raises(OSError, match="FIFO"), whole_file(tmp_path / "a"):
        pass
    assert (tmp_path / ".a.new").is_fifo()


@pytest.mark.parametrize("write", [whole_file, check_writable])
def test_two_processes_never_write_one_file(tmp_path: Path, write: Callable[[Path], object]) -> None:
    with whole_file(tmp_path / "a") as file:
        file.write(b"first")
        with pytest.raises(OSError, match="another process is writing a"):
            write_whole(tmp_path / "a", b"second") if write is whole_file else write(tmp_path / "a")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]
    (tmp_path / ".a.new").write_text("of a process that was killed")
    write_whole(tmp_path / "a", b"third")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"third"]


def test_links_and_files_are_replaceable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link", "nothing", "file/below"):
        check_replaceable(tmp_path / name)


def test_what_is_no_checkpoint_is_kept(nnmpi: CommandServer, tmp_path: Path) -> None:
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir(parents=True)
    os.mkfifo(checkpoints / "000000000009.json")
    os.mkfifo(checkpoints / ".000000000009.json.new")
    (checkpoints / "notes.json").write_text("mine")
    nnmpi("train", "--data", "iris", "--epochs", "1", "--output", "run", "--overwrite", cwd=tmp_path).succeeded()
    names = {path.name for path in checkpoints.iterdir()}
    assert names >= {"000000000009.json", ".000000000009.json.new", "notes.json"}


INPUTS = {
    "weights.json": "train iris --class-weight weights.json",
    "settings.toml": "train iris --config settings.toml",
    "d.csv": "train d.csv",
    "d.npz": "train iris --test-data d.npz",
    "c.csv": "convert c.csv c.parquet",
    "m.safetensors": "evaluate m.safetensors",
    "e.safetensors": "export e.safetensors e.onnx",
    "run/config.json": "compare run",
    "r/config.json": "report r",
    "hosts": "launch -n 2 --hostfile hosts -- train iris",
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_pipe_is_no_input(nnmpi: CommandServer, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    done = nnmpi(*INPUTS[name].split(), cwd=tmp_path, timeout=60)
    assert done.status == 2
    assert len(done.messages) == 1
    assert name.split("/")[0] in done.messages[0]


def test_report_of_a_run_whose_model_is_a_pipe(nnmpi: CommandServer, tmp_path: Path) -> None:
    nnmpi("train", "iris", "--epochs", "1", "--output", "run", cwd=tmp_path).succeeded()
    (tmp_path / "run/model.safetensors").unlink()
    os.mkfifo(tmp_path / "run/model.safetensors")
    nnmpi("report", "run", cwd=tmp_path, timeout=60).succeeded()


OVER_INPUTS = {
    "predict model iris.csv --out iris.csv": "would replace the data in iris.csv",
    "predict model link.csv --out iris.csv": "would replace the data in link.csv",
    "predict model --data iris.csv --out ../{}/iris.csv": "would replace the data in iris.csv",
    "predict model --part test --out iris.csv": "would replace the data in iris.csv",
    "predict model parts --out parts/iris.csv": "would replace the data in parts",
    "train iris.csv --target target --timeline iris.csv": "would replace the data in iris.csv",
    "train digits --test-data iris.csv --timeline iris.csv": "would replace the data in iris.csv",
    "train iris --output new --timeline model/config.json": "config.json is the name of a file of a run",
    "report model --out model/model.safetensors": "model.safetensors is the name of a file of a run",
}


def test_an_output_never_replaces_an_input(nnmpi: CommandServer, tmp_path: Path) -> None:
    table = load_iris(as_frame=True).frame
    (tmp_path / "parts").mkdir()
    for name in ("iris.csv", "parts/iris.csv"):
        table.to_csv(tmp_path / name, index=False)
    (tmp_path / "link.csv").symlink_to("iris.csv")
    training = ("train", "iris.csv", "--target", "target", "--epochs", "1", "--output", "model")
    nnmpi(*training, cwd=tmp_path).succeeded()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    for command, text in OVER_INPUTS.items():
        done = nnmpi(*command.format(tmp_path.name).split(), cwd=tmp_path)
        assert (done.status, done.out, len(done.messages)) == (2, "", 1), command
        assert text in done.messages[0]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    nnmpi("predict", "model", "iris.csv", "--out", "link.csv", cwd=tmp_path).succeeded()  # a link is replaced
    assert (tmp_path / "iris.csv").read_bytes() == before[tmp_path / "iris.csv"]
