"""The progress display, without a training: the tests advance a fake session."""

import io
import re
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from nnmpi.commands import progress
from nnmpi.commands.progress import Display, Speed, bar, clock, epoch_line, fit
from nnmpi.commands.terminal import Block, Terminal
from nnmpi.data.shards import Layout
from nnmpi.files.checkpoint import Progress

METRICS = {"epoch": 3, "samples": 100, "seconds": 0.5, "train_loss": 0.5, "test_loss": 0.25, "test_accuracy": 0.75}


def session(epochs: int = 2, samples: int = 1_000_000, batch_size: int = 100) -> Any:
    layout, config = Layout(samples, 8, batch_size), SimpleNamespace(epochs=epochs)
    return SimpleNamespace(layout=layout, config=config, progress=Progress())


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def shown(text: str) -> list[str]:
    """Return the lines on a screen after `text`: ESC[1A moves up one line, ESC[2K erases a line."""
    screen: list[str] = [""]
    row = 0
    for part in re.findall(r"\x1b\[1A|\x1b\[2K|\n|[^\x1b\n]+|\x1b", text):
        if part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            screen[row] = ""
        elif part == "\n":
            row += 1
            screen += [""] * (row == len(screen))
        else:
            assert part != "\x1b"
            screen[row] = part
    return screen[:row]  # the cursor is at the beginning of the next line


def test_block_is_replaced_and_lines_stay_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    block = Block()
    for lines in (["a", "b"], ["c"], ["d", "e"]):
        block.draw(lines)
    block.print("stays")
    block.draw(["f"])
    before = capsys.readouterr().out
    assert shown(before) == ["stays", "f"]
    with block.cleared():
        pass
    assert shown(before + capsys.readouterr().out) == ["stays"]


class Writes(io.StringIO):
    """Standard output that records each write."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def write(self, text: str) -> int:
        self.all.append(text)
        return super().write(text)


def test_each_write_begins_with_the_erasure_and_ends_with_a_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launchers forward complete lines only."""
    monkeypatch.setattr(sys, "stdout", writes := Writes())
    monkeypatch.setattr(progress, "PERIOD", 0.01)
    display = Display(session(), "live", Terminal(True))
    wait_for(lambda: len(writes.all) > 5)
    display.epoch(METRICS)
    display.close()
    kept_line = epoch_line(METRICS, 2, 200, 79)
    assert all(write.endswith("\n") for write in writes.all)
    after_kept = next(i for i, write in enumerate(writes.all) if kept_line in write) + 1
    # the first write and the one after the kept line have nothing to erase
    erasing = [write for i, write in enumerate(writes.all) if i not in (0, after_kept)]
    assert all(write.startswith("\x1b[1A\x1b[2K") for write in erasing)
    assert [line for line in shown(writes.getvalue()) if line] == [kept_line]


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
def test_live_lines_fit(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Terminal, "width", columns)
    monkeypatch.setattr(progress, "PERIOD", 0.01)
    training = session(epochs=1000)
    display = Display(training, "live", Terminal(True))
    text = ""
    for _ in range(20):
        training.progress.advance(50.0, 100.0, 100)
        time.sleep(0.02)
        display.epoch(METRICS)
        text += capsys.readouterr().out
    display.close()
    lines = [re.sub(r"\x1b\[..", "", line) for line in text.split("\n")]
    assert 0 < max(map(len, lines)) < columns
    assert any(line.startswith("epoch 1/1000") for line in lines)
    if columns >= 80:
        assert any(re.search(r"step \d+/10,000  train loss 0.5000$", line) for line in lines)
        assert any(re.search(r"samples/s  [0-9:]+ left$|samples/s  .* days left$", line) for line in lines)


def test_without_a_terminal_a_long_epoch_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PERIOD", 0.01)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.05)
    training = session()
    display = Display(training, "plain", Terminal(False))
    text = ""

    def has_three_lines() -> bool:
        nonlocal text
        training.progress.advance(50.0, 100.0, 100)
        text += capsys.readouterr().out
        return text.count("\n") >= 3

    wait_for(has_three_lines)
    display.close()
    assert "\x1b" not in text
    assert re.fullmatch(
        r"epoch 1/2, step [\d,]+/10,000, train loss 0\.5000, [\d,]+ samples/s, \S+ left", text.splitlines()[2]
    )


def test_progress_none_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(session(), "none", Terminal(False))
    display.epoch(METRICS)
    display.close()
    assert capsys.readouterr().out == ""


def test_speed_is_a_mean_over_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window covers many short epochs; the speed of a single one says nothing."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    training = session(epochs=10_000, samples=100, batch_size=10)
    speed = Speed(training)
    for second in range(1, 101):
        now[0] = float(second)
        training.progress.update += 20 if second > 50 else 10  # 100 samples per second, then 200
        speed.record()
    assert speed.samples_per_second == pytest.approx(200)
    assert speed.seconds_left == pytest.approx((1_000_000 - 10 * training.progress.update) / 200)


def test_speed_of_an_epoch_is_a_mean_over_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(session(), "plain", Terminal(False))
    for seconds in (0.25, 0.25, 0.25, 0.25, 0.5):
        display.epoch(METRICS | {"seconds": seconds})
    display.close()
    speeds = [line.split(", ")[-1] for line in capsys.readouterr().out.splitlines()]
    assert speeds == ["400 samples/s"] * 4 + ["300 samples/s"]  # the last second has 300 samples


def test_small_parts() -> None:
    assert [clock(s) for s in (0, 45, 723, 7200, 3 * 86400)] == ["0:00", "0:45", "12:03", "2:00:00", "3.0 days"]
    assert fit(["abc", "de", "f"], 7) == "abc  de"
    assert epoch_line(METRICS | {"test_accuracy": None}, 9, 10).endswith("test accuracy undefined, 10 samples/s")
    assert epoch_line(METRICS, 9, 10, 40) == "epoch 3/9  train 0.5000  test 0.2500"


def test_bar_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert bar(0.5, 10) == "#####-----"
