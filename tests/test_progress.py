"""What a training shows while it runs, without a training: a session that a test moves on."""

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
    """The lines on a screen after `text`: ESC[1A goes a line up, ESC[2K erases it."""
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
    return screen[:row]  # the cursor is at the beginning of the next one


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
    """Standard output that notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def write(self, text: str) -> int:
        self.all.append(text)
        return super().write(text)


def test_each_write_begins_with_the_erasure_and_ends_with_a_newline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launchers pass on what a newline ends."""
    monkeypatch.setattr(sys, "stdout", writes := Writes())
    monkeypatch.setattr(progress, "PERIOD", 0.01)
    display = Display(session(), "live", Terminal(True))
    wait_for(lambda: len(writes.all) > 5)
    display.epoch(METRICS)
    display.close()
    stays = epoch_line(METRICS, 2, 200, 79)
    assert all(write.endswith("\n") for write in writes.all)
    after_stays = next(i for i, write in enumerate(writes.all) if stays in write) + 1
    # before the first write there is nothing to erase, and after the line that stays
    erasing = [write for i, write in enumerate(writes.all) if i not in (0, after_stays)]
    assert all(write.startswith("\x1b[1A\x1b[2K") for write in erasing)
    assert [line for line in shown(writes.getvalue()) if line] == [stays]


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
def test_live_lines_fit(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Terminal, "width", columns)
    monkeypatch.setattr(progress, "PERIOD", 0.01)
    now = session(epochs=1000)
    display = Display(now, "live", Terminal(True))
    text = ""
    for _ in range(20):
        now.progress.advance(50.0, 100.0, 100)
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
    now = session()
    display = Display(now, "plain", Terminal(False))
    text = ""

    def seen() -> bool:
        nonlocal text
        now.progress.advance(50.0, 100.0, 100)
        text += capsys.readouterr().out
        return text.count("\n") >= 3

    wait_for(seen)
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
    """Also over epochs of 7 ms, whose own speed says nothing."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    of = session(epochs=10_000, samples=100, batch_size=10)
    speed = Speed(of)
    for second in range(1, 101):
        now[0] = float(second)
        of.progress.update += 20 if second > 50 else 10  # 200 samples a second, then
        speed.record()
    assert speed.samples_per_second == pytest.approx(200)
    assert speed.seconds_left == pytest.approx((1_000_000 - 10 * of.progress.update) / 200)


def test_speed_of_an_epoch_is_a_mean_over_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(session(), "plain", Terminal(False))
    for seconds in (0.25, 0.25, 0.25, 0.25, 0.5):
        display.epoch(METRICS | {"seconds": seconds})
    display.close()
    speeds = [line.split(", ")[-1] for line in capsys.readouterr().out.splitlines()]
    assert speeds == ["400 samples/s"] * 4 + ["300 samples/s"]  # 300 in the last second


def test_small_parts() -> None:
    assert [clock(s) for s in (0, 45, 723, 7200, 3 * 86400)] == ["0:00", "0:45", "12:03", "2:00:00", "3.0 days"]
    assert fit(["abc", "de", "f"], 7) == "abc  de"
    assert epoch_line(METRICS | {"test_accuracy": None}, 9, 10).endswith("test accuracy undefined, 10 samples/s")
    assert epoch_line(METRICS, 9, 10, 40) == "epoch 3/9  train 0.5000  test 0.2500"


def test_bar_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert bar(0.5, 10) == "#####-----"
