"""The progress that ``train`` shows: one line for each epoch and, in a terminal, two lines that are redrawn."""

import sys
import threading
import time
from collections import deque
from contextlib import AbstractContextManager
from typing import Any

from nnmpi.commands.terminal import Block, Terminal
from nnmpi.training.session import Session

PERIOD = 0.25  # seconds between two looks at the progress of the session
LINE_EVERY = 30.0  # seconds between two lines if nothing is redrawn
WINDOW = 15.0  # the speed shown is the mean over this many seconds
EPOCHS_FOR_SPEED = 1.0  # the speed in an epoch's line is the mean over at least this many seconds of training


class Display:
    """The display of the progress of `session`; only rank 0 has one.

    A separate thread reads the progress of the session, so that the display costs nothing in a step.

    Parameters
    ----------
    style : {"live", "plain", "none"}
        Redraw lines, only print lines, or show nothing.
    """

    def __init__(self, session: Session, style: str, terminal: Terminal) -> None:
        self._session, self._style, self._terminal = session, style, terminal
        self._block = Block()
        self._speed = Speed(session)
        self._recent: deque[tuple[int, float]] = deque()  # samples and seconds of the last epochs
        self._printed = time.monotonic()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if style == "live":
            self._draw()
        if style != "none":
            self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
            self._thread.start()

    def epoch(self, metrics: dict[str, Any]) -> None:
        """Print the metrics of an epoch in one line."""
        if self._style == "none":
            return
        self._printed = time.monotonic()
        columns = self._terminal.width - 1 if self._style == "live" else None
        self._block.print(epoch_line(metrics, self._session.config.epochs, self._mean_speed(metrics), columns))

    def cleared(self) -> AbstractContextManager[None]:
        """Erase the redrawn lines while entered; they return below what was printed in between."""
        return self._block.cleared()

    def close(self) -> None:
        """Stop the thread and erase the redrawn lines."""
        self._closing.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        with self._block.cleared():
            pass

    def _mean_speed(self, metrics: dict[str, Any]) -> float:
        """Return the training speed over the last epochs in samples/s: that of one short epoch is too noisy."""
        recent = self._recent
        recent.append((metrics["samples"], metrics["seconds"]))
        while sum(seconds for _, seconds in recent) - recent[0][1] >= EPOCHS_FOR_SPEED:
            recent.popleft()
        return sum(samples for samples, _ in recent) / sum(seconds for _, seconds in recent)

    def _watch(self) -> None:
        while not self._closing.wait(PERIOD):
            self._speed.record()
            if self._style == "live":
                self._draw()
            elif time.monotonic() - self._printed >= LINE_EVERY:
                self._printed = time.monotonic()
                first, second = self._facts()
                self._block.print(", ".join(first + second))

    def _draw(self) -> None:
        columns = self._terminal.width - 1  # some terminals wrap a line that fills the last one
        self._block.draw([line for line in self._lines(columns) if line])

    def _lines(self, columns: int) -> tuple[str, str]:
        """Return the two redrawn lines, each cut to what fits."""
        first, second = self._facts()
        line = fit(second, columns)
        share = self._speed.updates / max(1, self._speed.all_updates)
        bar_width = min(30, columns - len(line) - 2)
        return fit(first, columns), f"{bar(share, bar_width)}  {line}" if bar_width >= 5 else line

    def _facts(self) -> tuple[list[str], list[str]]:
        session, speed = self._session, self._speed
        layout, progress = session.layout, session.progress
        epoch, step = divmod(min(speed.updates, max(0, speed.all_updates - 1)), max(1, layout.steps))
        first = [f"epoch {epoch + 1}/{session.config.epochs}", f"step {step + 1:,}/{layout.steps:,}"]
        loss_sum, weight = progress.loss_sum, progress.weight_sum
        if weight:
            first.append(f"train loss {loss_sum / weight:.4f}")
        second = []
        if speed.samples_per_second:
            second = [f"{speed.samples_per_second:,.0f} samples/s", f"{clock(speed.seconds_left)} left"]
        return first, second


class Speed:
    """The speed of a session, as a mean over the last `WINDOW` seconds, which may hold many epochs or part of one."""

    def __init__(self, session: Session) -> None:
        self._session, self._layout = session, session.layout
        self.updates = session.progress.update
        self.all_updates = session.config.epochs * session.layout.steps
        self._history = deque([(time.monotonic(), self.updates)])  # time and number of updates

    def record(self) -> None:
        """Record how many updates the session has done by now."""
        self.updates, now = self._session.progress.update, time.monotonic()
        self._history.append((now, self.updates))
        while len(self._history) > 2 and now - self._history[1][0] >= WINDOW:
            self._history.popleft()

    @property
    def samples_per_second(self) -> float:
        """Samples per second, with the time for evaluation and checkpoints; 0 before the first update."""
        (start, first), (end, last) = self._history[0], self._history[-1]
        return (self._samples(last) - self._samples(first)) / (end - start) if last > first else 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds until all epochs are done at this speed."""
        return (self._samples(self.all_updates) - self._samples(self.updates)) / max(self.samples_per_second, 1e-9)

    def _samples(self, updates: int) -> int:
        epochs, steps = divmod(updates, self._layout.steps)
        return epochs * self._layout.samples + steps * self._layout.batch_size


def epoch_line(metrics: dict[str, Any], epochs: int, speed: float, columns: int | None = None) -> str:
    """Return the metrics of an epoch as one line; if `columns` are too few, in a short form and cut to what fits."""
    name = "accuracy" if "test_accuracy" in metrics else "r2"
    score = metrics[f"test_{name}"]
    value = "undefined" if score is None else f"{score:.4f}"
    losses = {part: metrics[f"{part}_loss"] for part in ("train", "validation", "test") if f"{part}_loss" in metrics}
    parts = [*(f"{part} loss {loss:.4f}" for part, loss in losses.items()), f"test {name} {value}"]
    line = f"epoch {metrics['epoch']}/{epochs}: {', '.join(parts)}, {speed:,.0f} samples/s"
    if columns is None or len(line) <= columns:
        return line
    parts = [*(f"{part} {loss:.4f}" for part, loss in losses.items()), f"{name} {value}", f"{speed:,.0f}/s"]
    return fit([f"epoch {metrics['epoch']}/{epochs}", *parts], columns)


def fit(parts: list[str], columns: int) -> str:
    """Join as many of the first `parts` as fit into a line of `columns` characters."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) > columns:
            break
        line = longer
    return line


def bar(share: float, columns: int) -> str:
    """Return a bar of which `share` is full, in characters that standard output can encode."""
    full, empty = "━", "─"
    try:
        (full + empty).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        full, empty = "#", "-"
    done = round(min(1.0, share) * columns)
    return full * done + empty * (columns - done)


def clock(seconds: float) -> str:
    """Return a time as ``0:45``, ``12:03``, ``2:00:00`` or, from one day on, ``3.0 days``."""
    whole = round(min(seconds, 1e9))
    if whole >= 86400:
        return f"{whole / 86400:.1f} days"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
